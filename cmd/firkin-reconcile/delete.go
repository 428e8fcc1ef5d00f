package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/firkin-dev/firkin-reconcile/journal"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// deleteOptions are the flags of delete.
type deleteOptions struct {
	namespace   string
	all         bool
	gracePeriod int64 // seconds; negative: the pod's own
	ignore      bool
	parallel    int
}

func (a *app) deleteCommand() *cobra.Command {
	var opt deleteOptions
	cmd := &cobra.Command{
		Use:   "delete POD... | --all",
		Short: "Remove pods: containers, VM and store",
		Long: `Remove pods: containers, VM and store. Nothing is asked. A pod whose manifest is still
there comes back with the next apply or run.`,
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 && (args[0] == "pod" || args[0] == "pods" || args[0] == "po") {
				args = args[1:]
			}
			if opt.all == (len(args) > 0) {
				return usagef("delete: name pods, or give --all")
			}
			return a.delete(cmd.Context(), args, opt)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&opt.namespace, "namespace", "n", "", "the pods' namespace")
	f.BoolVar(&opt.all, "all", false, "all pods (of the namespace, if one is given)")
	f.Int64Var(&opt.gracePeriod, "grace-period", -1, "seconds that containers get to end by themselves (-1: the pod's own)")
	f.BoolVar(&opt.ignore, "ignore-not-found", false, "a pod that is not there is fine")
	f.IntVar(&opt.parallel, "parallel", defaultParallel, "how many pods are removed at once")
	return cmd
}

func (a *app) delete(ctx context.Context, names []string, opt deleteOptions) error {
	dir, err := a.openState()
	if err != nil {
		return err
	}
	lock, err := dir.Lock("firkin-reconcile delete")
	if err != nil {
		return err
	}
	s, err := a.open(ctx, dir, remover)
	if err != nil {
		return errors.Join(err, lock.Unlock())
	}
	s.lock = lock
	defer s.close()
	if err := s.refresh(ctx); err != nil {
		return err
	}
	chosen, missing := getOptions{names: names, namespace: opt.namespace}.choose(s)
	if opt.ignore && !errors.Is(missing, errAmbiguous) {
		missing = nil
	}
	if len(chosen) == 0 && missing == nil {
		a.say("No pods to delete.")
	}
	return errors.Join(missing, s.deleteAll(ctx, chosen, opt))
}

func (s *stack) deleteAll(ctx context.Context, pods []*schema.PodStatus, opt deleteOptions) error {
	var mu sync.Mutex
	var failed error
	var g errgroup.Group
	g.SetLimit(max(opt.parallel, 1))
	for _, p := range pods {
		g.Go(func() error {
			err := s.deletePod(ctx, p, opt)
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
			if err == nil {
				fmt.Fprintf(s.app.stdout, "pod %q deleted\n", p.Ref)
			}
			return nil
		})
	}
	return errors.Join(g.Wait(), failed)
}

func (s *stack) deletePod(ctx context.Context, p *schema.PodStatus, opt deleteOptions) error {
	if ctx.Err() != nil {
		return fmt.Errorf("pod %s is left: %w", p.Ref, context.Cause(ctx))
	}
	grace := 30 * time.Second
	if p.Spec != nil {
		grace = time.Duration(p.Spec.GraceSeconds) * time.Second
	}
	if opt.gracePeriod >= 0 {
		grace = time.Duration(opt.gracePeriod) * time.Second
	}
	_, err := s.actual.Apply(ctx, reconcile.Action{
		Type: reconcile.Remove, Kind: reconcile.KindPod, Pod: p.Ref, Name: p.Name,
		Cause: "asked for", Disruptive: true, Spec: p.Spec, Grace: grace,
	})
	if err != nil {
		return err
	}
	s.record(journal.Event{Type: journal.Normal, Reason: "Removed", Pod: p.String(), Object: "pod", Message: "deleted by hand"})
	if p.Spec != nil && p.Spec.Origin.File != "" {
		if _, err := os.Stat(p.Spec.Origin.File); err == nil {
			s.app.say("The manifest of pod %s is still there (%s:%d): apply or run would bring it back.", p.Ref, p.Spec.Origin.File, p.Spec.Origin.Line)
		}
	}
	return nil
}
