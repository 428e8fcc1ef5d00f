package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/crilog"
	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/kube"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// logsOptions are the flags of logs.
type logsOptions struct {
	namespace, container string
	follow, previous     bool
	timestamps           bool
	tail                 int
}

func (a *app) logsCommand() *cobra.Command {
	var opt logsOptions
	cmd := &cobra.Command{
		Use:               "logs POD",
		Short:             "Print what a container wrote",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				if opt.container != "" {
					return usagef("logs: the container is named twice")
				}
				opt.container = args[1]
			}
			return a.logs(cmd.Context(), args[0], opt)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&opt.namespace, "namespace", "n", "", "the pod's namespace")
	f.StringVarP(&opt.container, "container", "c", "", "the container (default: the pod's first)")
	f.BoolVarP(&opt.follow, "follow", "f", false, "go on with what it writes, also after restarts")
	f.BoolVarP(&opt.previous, "previous", "p", false, "the run before the last one")
	f.IntVar(&opt.tail, "tail", -1, "how many last lines (-1: all)")
	f.BoolVar(&opt.timestamps, "timestamps", false, "begin every line with its time")
	return cmd
}

func (a *app) logs(ctx context.Context, pod string, opt logsOptions) error {
	s, err := a.look(ctx, pod)
	if err != nil {
		return err
	}
	defer s.close()
	p, err := s.find(pod, opt.namespace)
	if err != nil {
		return err
	}
	container, err := a.container(p, opt.container)
	if err != nil {
		return err
	}
	if p.LogDir == "" {
		return fmt.Errorf("pod %s keeps no logs: its machine is %s", p.Ref, p.Machine)
	}
	out, flush := a.readable()
	err = crilog.Copy(ctx, out, filepath.Join(p.LogDir, container), crilog.Options{
		Follow:     opt.follow,
		Previous:   opt.previous,
		Tail:       opt.tail,
		Timestamps: opt.timestamps,
		Ended:      s.quiet(p.Ref, container),
	})
	if errors.Is(err, crilog.ErrNoLog) {
		return noLog(p, container, opt.previous)
	}
	err = errors.Join(err, flush())
	if err == nil && opt.follow {
		return ended(ctx)
	}
	return err
}

// noLog explains why there is nothing to print. A container that runs and has
// written nothing is fine.
func noLog(p *schema.PodStatus, container string, previous bool) error {
	if previous {
		return fmt.Errorf("container %s of pod %s has no previous run", container, p.Ref)
	}
	for _, c := range p.Containers {
		if c.Name == container && c.State != schema.ContainerCreating {
			return nil
		}
	}
	pod := kube.FromStatus(p)
	for _, list := range [][]kube.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, c := range list {
			if c.Name == container && c.State.Waiting != nil {
				return remedy(fmt.Errorf("container %s of pod %s has not run: %s", container, p.Ref, c.State.Waiting.Reason),
					"firkin-reconcile describe pod %s says more", p.Ref)
			}
		}
	}
	return fmt.Errorf("container %s of pod %s has not run", container, p.Ref)
}

// quiet tells whether a container will write nothing more: its pod is gone, or it
// ended and is not to be started again.
func (s *stack) quiet(ref schema.Ref, container string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if s.refresh(ctx, ref.Name) != nil {
			return false
		}
		for _, p := range s.pods {
			if p.Ref != ref {
				continue
			}
			for j := range p.Containers {
				if c := &p.Containers[j]; c.Name == container {
					over := c.State == schema.ContainerExited || c.State == schema.ContainerTerminated
					return over && p.Machine == schema.MachineRunning && !kube.WillRestart(p.Spec, c)
				}
			}
			return false
		}
		return true
	}
}
