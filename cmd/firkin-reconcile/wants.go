package main

import (
	"context"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/progress"
	"github.com/firkin-dev/firkin-reconcile/desired"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
)

const (
	// defaultParallel is how many pods are worked on at once: booting is bound by the
	// CPU, the rest by waiting.
	defaultParallel = 8
	// defaultTimeout is how long apply waits for pods to become ready.
	defaultTimeout = 5 * time.Minute
)

// wants are the flags of apply, run and plan: what is to be made so, and how far.
type wants struct {
	paths       []string
	prune       bool
	pruneGiven  bool
	allowEmpty  bool
	maxRemovals budgetFlag
	parallel    int
	timeout     time.Duration
	progress    string
	output      string
	// requireDigest refuses images that are named by tag only.
	requireDigest bool
}

func (w *wants) flags(f *pflag.FlagSet) {
	f.BoolVar(&w.prune, "prune", false, "remove pods that are no longer in their source (default: true for directories, false for files)")
	f.Lookup("prune").DefValue = ""
	f.BoolVar(&w.allowEmpty, "allow-empty", false, "let a directory that turned empty remove all its pods")
	f.Var(&w.maxRemovals, "max-removals", "how many pods of a source one pass may remove: `N|P%` (default 50%; one is always allowed unless it is the last)")
	f.BoolVar(&w.requireDigest, "require-digest", false, requireDigestUsage)
	f.IntVar(&w.parallel, "parallel", defaultParallel, "how many pods are worked on at once")
	f.DurationVar(&w.timeout, "timeout", defaultTimeout, "how long to wait for pods to become ready")
	f.StringVar(&w.progress, "progress", string(progress.Auto), "auto, tty, plain, json or none")
	f.StringVarP(&w.output, "output", "o", "text", "text or json")
}

// settle completes wants from the command line and checks them.
func (w *wants) settle(command string, f *pflag.FlagSet, args []string) error {
	w.paths = args
	if len(args) == 0 {
		w.paths = []string{defaultPath}
	}
	w.pruneGiven = f.Changed("prune")
	if w.output != "text" && w.output != "json" {
		return usagef("%s: -o %q: it is one of text, json", command, w.output)
	}
	if w.parallel < 1 {
		return usagef("%s: --parallel %d: it is at least 1", command, w.parallel)
	}
	if w.timeout <= 0 {
		return usagef("%s: --timeout %s: it is more than 0", command, w.timeout)
	}
	for _, kind := range progress.Kinds() {
		if w.progress == kind {
			return nil
		}
	}
	return usagef("%s: --progress %q: it is one of auto, tty, plain, json, none", command, w.progress)
}

func (w *wants) policy() reconcile.Policy {
	return reconcile.Policy{AllowEmpty: w.allowEmpty, MaxRemovals: w.maxRemovals.Budget}
}

// source opens the manifests. What it refuses it may have to find out, until ctx ends.
func (w *wants) source(ctx context.Context, a *app) (*desired.Source, error) {
	opt := desired.Options{
		RequireDigest: w.requireDigest,
		NoUntrusted:   sync.OnceValue(func() string { return a.noUntrusted(ctx) }),
		Log:           a.log.WithName("desired"),
	}
	if w.pruneGiven {
		opt.Prune = func(string, bool) bool { return w.prune }
	}
	return desired.New(w.paths, opt)
}

// display is the progress asked for. It draws on stderr.
func (w *wants) display(a *app) progress.Display {
	kind := progress.Kind(w.progress)
	if kind == progress.Auto && (a.flags.quiet || w.output == "json" && a.screen().Size == nil) {
		kind = progress.None
	}
	return progress.New(kind, a.stderr.screen, a.screen(), a.paint)
}

// budgetFlag is --max-removals.
type budgetFlag struct{ reconcile.Budget }

// Set implements pflag.Value.
func (b *budgetFlag) Set(s string) error {
	budget, err := reconcile.ParseBudget(s)
	if err != nil {
		return err
	}
	b.Budget = budget
	return nil
}

// Type implements pflag.Value.
func (*budgetFlag) Type() string { return "N|P%" }
