package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/journal"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// trimmed is one pod's line of `trim -o json`.
type trimmed struct {
	Pod string `json:"pod"`
	// TrimmedBytes is what the guest's kernel reports as given back.
	TrimmedBytes int64 `json:"trimmedBytes"`
	// HostBytes is what the store occupies on the host, before and after.
	HostBytesBefore int64  `json:"hostBytesBefore"`
	HostBytesAfter  int64  `json:"hostBytesAfter"`
	Error           string `json:"error,omitempty"`
}

func (a *app) trimCommand() *cobra.Command {
	var namespace, output string
	cmd := &cobra.Command{
		Use:               "trim [POD...]",
		Short:             "Give freed space of pod stores back to the host now (default: of all pods)",
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usagef("trim: -o %q: it is one of text, json", output)
			}
			return a.trim(cmd.Context(), args, namespace, output)
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "the pods' namespace")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func (a *app) trim(ctx context.Context, names []string, namespace, output string) error {
	s, err := a.look(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	chosen, err := getOptions{names: names, namespace: namespace}.choose(s)
	if err != nil {
		return err
	}
	results, failed := s.trimAll(ctx, chosen, len(names) > 0)
	if output == "json" {
		err := render.JSON(a.stdout, struct {
			Pods []trimmed `json:"pods"`
		}{results})
		return errors.Join(failed, err)
	}
	rows := make([][]string, 0, len(results))
	for _, r := range results {
		if r.Error == "" {
			rows = append(rows, []string{
				r.Pod, fmt.Sprint(r.TrimmedBytes), render.Bytes(r.TrimmedBytes),
				render.Bytes(r.HostBytesBefore), render.Bytes(r.HostBytesAfter),
			})
		}
	}
	if len(rows) == 0 {
		a.say("No pods to trim.")
		return failed
	}
	return errors.Join(failed, render.Table(a.stdout, []string{"POD", "BYTES", "TRIMMED", "HOST BEFORE", "HOST AFTER"}, rows))
}

// trimAll trims pods side by side. One that does not run is skipped unless it was named.
func (s *stack) trimAll(ctx context.Context, pods []*schema.PodStatus, named bool) ([]trimmed, error) {
	results := make([]trimmed, len(pods))
	var mu sync.Mutex
	var failed error
	var g errgroup.Group
	g.SetLimit(defaultParallel)
	for i, p := range pods {
		results[i] = trimmed{Pod: p.String(), HostBytesBefore: p.Store.HostBytes, HostBytesAfter: p.Store.HostBytes}
		if p.Machine != schema.MachineRunning {
			results[i].Error = "the machine is " + string(p.Machine)
			if named {
				failed = errors.Join(failed, fmt.Errorf("trim pod %s: the machine is %s", p.Ref, p.Machine))
			}
			continue
		}
		g.Go(func() error {
			done, err := s.actual.Apply(ctx, reconcile.Action{
				Type: reconcile.Trim, Kind: reconcile.KindPod, Pod: p.Ref, Name: p.Name, Cause: "asked for", Spec: p.Spec,
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				results[i].Error = err.Error()
				failed = errors.Join(failed, err)
				return nil
			}
			results[i].TrimmedBytes = done.TrimmedBytes
			s.record(journal.Event{
				Type: journal.Normal, Reason: "Trimmed", Pod: p.String(), Object: "pod",
				Message: "gave back " + render.Bytes(done.TrimmedBytes),
			})
			return nil
		})
	}
	failed = errors.Join(failed, g.Wait())
	s.hostBytes(ctx, results)
	return results, failed
}

// hostBytes fills in what stores occupy after trimming.
func (s *stack) hostBytes(ctx context.Context, results []trimmed) {
	if err := s.refresh(ctx); err != nil {
		s.app.slog.Warn("machines could not be listed again", "cause", err.Error())
		return
	}
	for i := range results {
		for j := range s.pods {
			if s.pods[j].String() == results[i].Pod {
				results[i].HostBytesAfter = s.pods[j].Store.HostBytes
			}
		}
	}
}

// record appends to the journal; that failing stops nothing.
func (s *stack) record(e journal.Event) {
	if err := s.journal.Append(e); err != nil {
		s.app.slog.Warn("an event was not recorded", "reason", e.Reason, "pod", e.Pod, "cause", err.Error())
	}
}
