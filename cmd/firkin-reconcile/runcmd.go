package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/firkin-dev/firkin-reconcile/internal/memory"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
)

func (a *app) runCommand() *cobra.Command {
	var w wants
	cmd := &cobra.Command{
		Use:   "run [DIR]",
		Short: "Keep pods what the manifests say until SIGTERM; pods outlive it",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.settle("run", cmd.Flags(), args); err != nil {
				return err
			}
			return a.run(cmd.Context(), &w)
		},
	}
	w.flags(cmd.Flags())
	// run waits for nothing and prints no data.
	for _, unused := range []string{"timeout", "output"} {
		if err := cmd.Flags().MarkHidden(unused); err != nil {
			panic(fmt.Sprintf("run: %v", err)) // the flag is defined above
		}
	}
	return cmd
}

func (a *app) run(ctx context.Context, w *wants) error {
	source, err := w.source(ctx, a)
	if err != nil {
		return &codedError{code: exitUsage, err: err}
	}
	s, err := a.own(ctx, "run "+strings.Join(w.paths, " "))
	if err != nil {
		return err
	}
	defer s.close()
	a.warn(w.output, a.emulated(ctx))
	display := w.display(a)
	defer a.show(display)()
	loop := reconcile.NewLoop(source, s.actual, reconcile.Options{
		Policy:   w.policy(),
		Parallel: w.parallel,
		Observer: &recorder{stack: s, display: display, loud: true},
		Log:      a.log.WithName("loop"),
	})
	a.say("Watching %s; SIGTERM ends this, pods live on.", strings.Join(w.paths, ", "))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return source.Run(ctx, loop.Wake) })
	g.Go(func() error { return s.actual.Run(ctx, loop.Wake) })
	g.Go(func() error { return loop.Run(ctx) })
	g.Go(func() error { return s.keepOwning(ctx) })
	g.Go(func() error {
		memory.Spare(ctx)
		return nil
	})
	err = g.Wait()
	switch interrupted(ctx) {
	case nil:
		return err
	case syscall.SIGTERM:
		return nil
	default:
		return ended(ctx)
	}
}
