package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func (a *app) planCommand() *cobra.Command {
	var w wants
	var detailed bool
	cmd := &cobra.Command{
		Use:   "plan [PATH...]",
		Short: "Show what apply would do, and why",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.settle("plan", cmd.Flags(), args); err != nil {
				return err
			}
			return a.plan(cmd.Context(), &w, detailed)
		},
	}
	w.flags(cmd.Flags())
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit 2 when there are changes, 0 when there are none")
	return cmd
}

// plan works beside an owner of the state directory: it changes nothing.
func (a *app) plan(ctx context.Context, w *wants, detailed bool) error {
	source, err := w.source(ctx, a)
	if err != nil {
		return &codedError{code: exitUsage, err: err}
	}
	want, err := source.Pods(ctx)
	if err != nil {
		return err
	}
	s, err := a.look(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	preview := reconcile.Foresee(want, schema.ActualState{Known: true, Pods: s.pods}, w.policy(), time.Now())
	shown := planOf(&want, &preview)
	a.warn(w.output, shown.Warnings)
	if w.output == "json" {
		err = render.JSON(a.stdout, shown.JSON())
	} else {
		err = shown.Text(a.stdout, a.paintOut)
	}
	if err != nil {
		return err
	}
	holds := preview.Holds
	if w.output == "json" {
		a.sayHolds(holds)
	}
	switch failed := a.complain(&want); {
	case slices.ContainsFunc(holds, refuses):
		return statusError(exitRefused)
	case failed || len(holds) > 0:
		return statusError(exitFailed)
	}
	if detailed && len(shown.Actions) > 0 {
		return statusError(exitUsage)
	}
	return nil
}

// planOf is a preview as it is shown.
func planOf(want *schema.DesiredState, p *reconcile.Preview) render.Plan {
	shown := render.Plan{Actions: p.Actions, Waiting: waiting(p.Pending), Warnings: byTag(want.Pods)}
	for _, source := range want.Sources {
		if source.Commit != "" {
			shown.Sources = append(shown.Sources, render.Source{Path: source.Path, Commit: source.Commit})
		}
	}
	for _, h := range want.Held {
		shown.Held = append(shown.Held, fmt.Sprintf("pod %s stays as it is: %s", h.Ref, h.Reason))
	}
	for _, h := range p.Holds {
		if refuses(h) {
			shown.Refused = append(shown.Refused, h.String())
		} else {
			shown.Held = append(shown.Held, h.String())
		}
	}
	return shown
}

// refuses tells guards that the user can open from holds that something has to mend.
func refuses(h reconcile.Hold) bool {
	return h.Kind == reconcile.HoldEmpty || h.Kind == reconcile.HoldBudget
}

// complain says what is wrong with the manifests, once each; it tells whether there
// are errors among it.
func (a *app) complain(want *schema.DesiredState) (failed bool) {
	for _, p := range want.Problems {
		if p.Severity == schema.SeverityError {
			failed = true
		} else if a.flags.quiet {
			continue
		}
		fmt.Fprintln(a.stderr, render.Problem(p, a.paint))
	}
	return failed
}

func (a *app) sayHolds(holds []reconcile.Hold) {
	for _, h := range holds {
		fmt.Fprintf(a.stderr, "%s %s\n", a.paint.Red("held:"), render.Safe(h.String()))
	}
}

// holdTexts are holds as the loop reports them while it runs.
func holdTexts(want *schema.DesiredState, holds []reconcile.Hold) []string {
	var texts []string
	for _, h := range holds {
		texts = append(texts, h.String())
	}
	for _, h := range want.Held {
		texts = append(texts, fmt.Sprintf("pod %s stays as it is: %s", h.Ref, h.Reason))
	}
	for _, p := range want.Problems {
		if p.Severity == schema.SeverityError {
			texts = append(texts, render.Problem(p, false))
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}
