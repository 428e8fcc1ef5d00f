package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/desired"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func (a *app) applyCommand() *cobra.Command {
	var w wants
	var wait, dryRun bool
	cmd := &cobra.Command{
		Use:   "apply [PATH...]",
		Short: "Make pods what the manifests say, wait until they are ready, and exit",
		Long: `Make pods what the manifests say, wait until they are ready, and exit. PATH is a file
or a directory; the default is ./manifests. Pods that a directory no longer holds are
removed (--prune), within bounds (--max-removals, --allow-empty).`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.settle("apply", cmd.Flags(), args); err != nil {
				return err
			}
			if dryRun {
				return a.plan(cmd.Context(), &w, false)
			}
			return a.apply(cmd.Context(), &w, wait)
		},
	}
	w.flags(cmd.Flags())
	cmd.Flags().BoolVar(&wait, "wait", true, "wait until pods are ready")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show the plan")
	return cmd
}

func (a *app) apply(ctx context.Context, w *wants, wait bool) error {
	began := time.Now()
	source, err := w.source(ctx, a)
	if err != nil {
		return &codedError{code: exitUsage, err: err}
	}
	s, err := a.own(ctx, "apply")
	if err != nil {
		return err
	}
	defer s.close()
	want, err := source.Pods(ctx)
	if err != nil {
		return err
	}
	warnings := slices.Concat(a.emulated(ctx), byTag(want.Pods))
	a.warn(w.output, warnings)
	invalid := a.complain(&want)
	display := w.display(a)
	hide := a.show(display)
	r := &recorder{stack: s, display: display, keep: true}
	report, err := s.converge(ctx, w, source, r, wait)
	hide()

	if w.output == "json" {
		if written := render.JSON(a.stdout, reportJSON(&report, r, time.Since(began), warnings)); written != nil {
			return written
		}
	} else if err == nil {
		a.say("%s", applied(&report, r, time.Since(began)))
	}
	if interrupted(ctx) != nil {
		a.sayLeft(&report)
	}
	if err == nil && invalid {
		return errSaid
	}
	return err
}

// converge runs the loop until there is nothing left to do, following the machines
// meanwhile.
func (s *stack) converge(ctx context.Context, w *wants, source *desired.Source, r *recorder, wait bool) (reconcile.Report, error) {
	loop := reconcile.NewLoop(source, s.actual, reconcile.Options{
		Policy: w.policy(), Parallel: w.parallel, Observer: r, Log: s.app.log.WithName("loop"),
	})
	following, stop := context.WithCancel(ctx)
	var follower sync.WaitGroup
	var followed error
	follower.Go(func() { followed = s.actual.Run(following, loop.Wake) })
	limited, cancel := context.WithTimeout(ctx, w.timeout)
	report, err := loop.Converge(limited, wait)
	cancel()
	stop()
	follower.Wait()
	return report, errors.Join(err, followed)
}

// applied is the last line of an apply.
func applied(report *reconcile.Report, r *recorder, took time.Duration) string {
	ready := 0
	for _, p := range report.Pods {
		if p.Verdict.Ready {
			ready++
		}
	}
	state := fmt.Sprintf("%d of %d pods ready", ready, len(report.Pods))
	switch {
	case len(report.Pods) == 0:
		state = "no pods"
	case ready == len(report.Pods) && ready == 1:
		state = "1 pod ready"
	case ready == len(report.Pods):
		state = fmt.Sprintf("%d pods ready", ready)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.records) == 0 {
		return fmt.Sprintf("Nothing to do: %s (%s).", state, render.Took(took))
	}
	actions := "1 action"
	if n := len(r.records); n > 1 {
		actions = fmt.Sprintf("%d actions", n)
	}
	return fmt.Sprintf("Done: %s, %s (%s).", state, actions, render.Took(took))
}

// sayLeft tells what an interrupted apply did not get to.
func (a *app) sayLeft(report *reconcile.Report) {
	if len(report.Left) == 0 {
		a.say("Interrupted. Pods keep running.")
		return
	}
	a.say("Interrupted. Pods keep running; left to do:")
	for _, action := range report.Left {
		a.say("  %s", render.Safe(action.String()))
	}
}

// applyJSON is the form of `apply -o json`.
type applyJSON struct {
	Actions []actionRecord `json:"actions"`
	Pods    []podOutcome   `json:"pods"`
	Totals  totals         `json:"totals"`
	Held    []string       `json:"held,omitempty"`
	// Warnings are of no one manifest.
	Warnings []string `json:"warnings,omitempty"`
}

// podOutcome is what became of one pod.
type podOutcome struct {
	Pod       string             `json:"pod"`
	Namespace string             `json:"namespace"`
	Name      string             `json:"name"`
	Phase     reconcile.PodPhase `json:"phase"`
	Ready     bool               `json:"ready"`
	Reason    string             `json:"reason,omitempty"`
	Message   string             `json:"message,omitempty"`
	File      string             `json:"file,omitempty"`
	Line      int                `json:"line,omitempty"`
}

// totals count what was done; Duration is in seconds.
type totals struct {
	render.Summary
	Failed   int     `json:"failed"`
	Pods     int     `json:"pods"`
	Ready    int     `json:"ready"`
	Duration float64 `json:"duration"`
}

func reportJSON(report *reconcile.Report, r *recorder, took time.Duration, warnings []string) applyJSON {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := applyJSON{Actions: r.records, Pods: []podOutcome{}, Held: r.held, Warnings: warnings}
	if out.Actions == nil {
		out.Actions = []actionRecord{}
	}
	out.Totals = totals{Summary: r.counts, Failed: r.failed, Pods: len(report.Pods), Duration: took.Seconds()}
	for _, p := range report.Pods {
		out.Pods = append(out.Pods, newPodOutcome(p.Ref, &p))
		if p.Verdict.Ready {
			out.Totals.Ready++
		}
	}
	return out
}

func newPodOutcome(ref schema.Ref, p *reconcile.Outcome) podOutcome {
	return podOutcome{
		Pod: ref.String(), Namespace: ref.Namespace, Name: ref.Name,
		Phase: p.Verdict.Phase, Ready: p.Verdict.Ready, Reason: p.Verdict.Reason, Message: p.Verdict.Message,
		File: p.Origin.File, Line: p.Origin.Line,
	}
}
