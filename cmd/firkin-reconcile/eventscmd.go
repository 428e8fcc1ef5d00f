package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/journal"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func (a *app) eventsCommand() *cobra.Command {
	var follow bool
	var output string
	cmd := &cobra.Command{
		Use:   "events [POD...]",
		Short: "Show what happened, oldest first",
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "" && output != "text" && output != "json" {
				return usagef("events: -o %q: it is one of text, json", output)
			}
			return a.events(cmd.Context(), args, follow, output == "json")
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens (-o json: one object per line)")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func (a *app) events(ctx context.Context, pods []string, follow, asJSON bool) error {
	dir, err := a.openState()
	if err != nil {
		return err
	}
	if follow {
		err := journal.Follow(ctx, dir.Root(), func(e journal.Event) error {
			if !ofPods(&e, pods) {
				return nil
			}
			if asJSON {
				return render.JSONLine(a.stdout, e)
			}
			_, err := fmt.Fprintln(a.stdout, render.EventLine(&e, a.paintOut))
			return err
		})
		if err != nil {
			return err
		}
		return ended(ctx)
	}
	all, err := journal.Read(dir.Root())
	if err != nil {
		return err
	}
	events := []journal.Event{}
	for i := range all {
		if ofPods(&all[i], pods) {
			events = append(events, all[i])
		}
	}
	switch {
	case asJSON:
		return render.JSON(a.stdout, struct {
			Events []journal.Event `json:"events"`
		}{events})
	case len(events) == 0:
		a.say("No events.")
		return nil
	default:
		return render.Events(a.stdout, events, time.Now())
	}
}

// ofPods tells whether an event is about one of the named pods; no names mean all.
func ofPods(e *journal.Event, names []string) bool {
	for _, name := range names {
		if e.Pod == name || e.Pod == (schema.Ref{Namespace: schema.DefaultNamespace, Name: name}).String() {
			return true
		}
	}
	return len(names) == 0
}

// say talks on stderr, unless told to be quiet.
func (a *app) say(format string, args ...any) {
	if !a.flags.quiet {
		fmt.Fprintf(a.stderr, format+"\n", args...)
	}
}
