package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/firkin-dev/firkin-reconcile/reconcile"
)

// world is everything of one sequence.
type world struct {
	t      *rapid.T
	story  *story
	host   *host
	dir    *directory
	ledger *ledger
	audit  *audit
	policy reconcile.Policy
	bug    sabotage
	quiet  time.Duration

	state   string // where failures are kept, one directory for each process
	lives   int
	process *process
	past    []*process

	mu       sync.Mutex
	listable time.Time // since when machines can be listed; zero: they cannot
}

func newWorld(t *rapid.T, p *parser, state string, bug sabotage) (*world, error) {
	s := &story{began: time.Now()}
	h, err := newHost(s)
	if err != nil {
		return nil, err
	}
	w := &world{
		t: t, story: s, host: h, ledger: newLedger(s), audit: newAudit(), bug: bug, state: state, listable: time.Now(),
		dir: &directory{parser: p, pods: make(map[string]podWords), broken: make(map[string]string), level: 1},
	}
	h.latency = rapid.SampledFrom([]time.Duration{0, time.Millisecond, 40 * time.Millisecond}).Draw(t, "latency")
	if rapid.Bool().Draw(t, "bold") {
		if w.policy.MaxRemovals, err = reconcile.ParseBudget("100%"); err != nil {
			return nil, err
		}
		w.policy.AllowEmpty = true
	}
	w.quiet = rapid.SampledFrom(quiets()).Draw(t, "quiet")
	s.tell("calls take %s each, twice; empty directories are acted on: %v", h.latency, w.policy.AllowEmpty)
	return w, nil
}

// keep copies what the running reconciler leaves, as it is now, for the next one: whatever
// a killed one still does to its own copy is not seen.
func (w *world) keep() error {
	return copyFiles(w.failures(w.lives), w.failures(w.lives+1))
}

func (w *world) failures(life int) string { return filepath.Join(w.state, fmt.Sprint(life)) }

// begin starts a reconciler on what the one before left.
func (w *world) begin(ctx context.Context) error {
	w.lives++
	if err := os.MkdirAll(w.failures(w.lives), 0o700); err != nil {
		return err
	}
	if w.process != nil {
		w.past = append(w.past, w.process)
	}
	w.process = start(ctx, w, w.failures(w.lives))
	w.ledger.event()
	return nil
}

// listableFor tells whether machines could be listed for so long.
func (w *world) listableFor(d time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.listable.IsZero() && time.Since(w.listable) > d
}

// end ends everything.
func (w *world) end() error {
	errs := []error{w.host.calm()}
	w.process.kill(true)
	for _, p := range append(w.past, w.process) {
		errs = append(errs, p.gate.end())
	}
	return errors.Join(append(errs, w.host.close(), os.RemoveAll(w.state))...)
}

// Bounds on the end of a sequence.
const (
	// convergeLimit leaves room for the longest back-offs, and calls that hang until
	// their deadline.
	convergeLimit = 25 * time.Minute
	// quiet is how long nothing may happen after that: the hour in one of ten sequences, and
	// in the others long enough for every back-off and look to come round, which costs less.
	quiet      = time.Hour
	quietUsual = 10 * time.Minute
)

func quiets() []time.Duration {
	list := make([]time.Duration, 10)
	for i := range list {
		list[i] = quietUsual
	}
	list[len(list)-1] = quiet
	return list
}

// finish stops all faults, and sees that all becomes as it should be and then stays so.
func (w *world) finish(ctx context.Context) error {
	if err := w.heal(ctx); err != nil {
		return err
	}
	w.story.tell("all faults stop; all manifests are as they should be")
	why, err := w.settled(ctx)
	if err != nil {
		return err
	}
	if why != "" {
		w.story.wrong(lost, "%s", why)
		return nil
	}
	w.story.tell("converged")
	if err := w.audit.step(ctx, w); err != nil {
		return err
	}
	before := w.ledger.count()
	time.Sleep(w.quiet)
	synctest.Wait()
	if err := w.audit.step(ctx, w); err != nil {
		return err
	}
	if n := w.ledger.count() - before; n > 0 {
		w.story.wrong(restless, "%d in %s", n, w.quiet)
	}
	if why, err = w.left(ctx); err == nil && why != "" {
		w.story.wrong(lost, "%s later: %s", w.quiet, why)
	}
	return err
}

// settled waits until all is as it should be, and still is so when what was under way has
// had its consequences; it says what is not.
func (w *world) settled(ctx context.Context) (why string, err error) {
	for until := time.Now().Add(convergeLimit); time.Now().Before(until); {
		if why, err = w.left(ctx); err != nil {
			return "", err
		}
		if why != "" {
			time.Sleep(10 * time.Second)
			continue
		}
		// A wait for a container that ended, or a manifest to be kept, may still come.
		time.Sleep(consequences + time.Second)
		if why, err = w.left(ctx); err != nil || why == "" {
			return "", err
		}
	}
	return why, nil
}

// heal ends all that is wrong.
func (w *world) heal(ctx context.Context) error {
	w.dir.change(func() {
		for name, words := range w.dir.pods {
			w.dir.pods[name] = words.healed()
		}
		clear(w.dir.broken)
		w.dir.level, w.dir.unknown, w.dir.fails = max(w.dir.level, 1), false, false
	})
	w.audit.disturb("")
	w.audit.armed = false
	w.ledger.event()
	if err := w.host.calm(); err != nil {
		return err
	}
	for _, pod := range w.dir.names() {
		for _, container := range []string{"c0", "c1"} {
			for _, file := range []string{"/live", "/ready"} {
				w.exec(ctx, pod, container, "write", file, "1")
			}
		}
	}
	w.process.loop.Wake()
	return nil
}

// left says what is not as it should be, "" if all is.
func (w *world) left(ctx context.Context) (string, error) {
	all, err := w.host.look(ctx)
	if err != nil {
		return "", err
	}
	pods, err := w.dir.resolved()
	if err != nil {
		return "", err
	}
	wanted := make(map[string]bool)
	for _, pod := range pods {
		wanted[pod.Name] = true
		if why := differs(pod, all); why != "" {
			return "pod " + pod.Name + ": " + why, nil
		}
	}
	for _, s := range all {
		if !wanted[s.pod] && !w.guarded(all, wanted) {
			return "pod " + s.pod + " is still there", nil
		}
	}
	return "", nil
}

// guarded tells whether so many pods would be removed that a guard is right to keep them.
func (w *world) guarded(all []seen, wanted map[string]bool) bool {
	if w.policy.AllowEmpty {
		return false
	}
	extra := 0
	for _, s := range all {
		if !wanted[s.pod] {
			extra++
		}
	}
	return len(wanted) == 0 || extra > 1 && extra > len(all)/2
}

// wantedNames are the pods that manifests may name.
func wantedNames() []string { return []string{"a", "b", "c"} }

var _ reconcile.Desired = (*reader)(nil)
