package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/journal"
)

// describedEvents is how many of a pod's last events are shown.
const describedEvents = 30

func (a *app) describeCommand() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:               "describe pod NAME...",
		Short:             "Say everything about a pod: containers, machine, volumes, failures, events",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 && (args[0] == "pod" || args[0] == "pods" || args[0] == "po") {
				args = args[1:]
			}
			s, err := a.look(cmd.Context(), args...)
			if err != nil {
				return err
			}
			defer s.close()
			for i, name := range args {
				if i > 0 {
					if _, err := fmt.Fprint(a.stdout, "\n\n"); err != nil {
						return err
					}
				}
				if err := a.describe(s, name, namespace); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "the pod's namespace")
	return cmd
}

func (a *app) describe(s *stack, name, namespace string) error {
	p, err := s.find(name, namespace)
	if err != nil {
		return err
	}
	all, err := journal.Read(s.dir.Root())
	if err != nil {
		return err
	}
	var events []journal.Event
	for i := range all {
		if all[i].Pod == p.String() {
			events = append(events, all[i])
		}
	}
	events = events[max(0, len(events)-describedEvents):]
	return render.Description{Pod: p, Events: events, Held: heldBack(all, p), Now: time.Now()}.Text(a.stdout)
}
