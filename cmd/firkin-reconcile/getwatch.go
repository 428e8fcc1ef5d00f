package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/kube"
	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// watch prints the chosen pods, and each again whenever what is shown of it changes.
// A pod that went away is shown a last time, as Deleted.
func (a *app) watch(ctx context.Context, s *stack, opt getOptions) error {
	wake := make(chan struct{}, 1)
	followed := make(chan error, 1)
	following, stop := context.WithCancel(ctx)
	go func() {
		followed <- s.actual.Run(following, func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		})
	}()
	defer func() {
		stop()
		if err := <-followed; err != nil {
			a.slog.Warn("machines were not followed to the end", "cause", err.Error())
		}
	}()
	p := &podPrinter{app: a, opt: opt, shown: map[schema.Ref]string{}}
	// Machines that other commands make are found by listing.
	relist := time.NewTicker(time.Second)
	defer relist.Stop()
	for {
		seen, err := s.actual.Pods(ctx)
		if err != nil {
			return err
		}
		if err := p.print(seen.Pods); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ended(ctx)
		case <-wake:
		case <-relist.C:
			if err := s.actual.Refresh(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// podPrinter prints pods that changed since they were printed last.
type podPrinter struct {
	app    *app
	opt    getOptions
	table  *render.PodTable
	shown  map[schema.Ref]string
	widths []int
}

func (p *podPrinter) print(pods []*schema.PodStatus) error {
	view := &stack{app: p.app, pods: pods}
	chosen, err := p.opt.choose(view)
	if err != nil && len(chosen) == 0 {
		chosen = nil // it may come yet
	}
	if p.table == nil {
		table := p.opt.table(chosen)
		p.table = &table
		p.fit(table.Headers())
		for _, s := range chosen {
			p.fit(table.Row(s, time.Now()))
		}
		if p.opt.output == "" || p.opt.output == "wide" {
			if err := p.line(table.Headers()); err != nil {
				return err
			}
		}
	}
	now := time.Now()
	present := map[schema.Ref]bool{}
	for _, s := range chosen {
		present[s.Ref] = true
		if err := p.pod(s, now); err != nil {
			return err
		}
	}
	for ref := range p.shown {
		if present[ref] {
			continue
		}
		delete(p.shown, ref)
		gone := schema.PodStatus{Ref: ref, Machine: schema.MachineAbsent}
		row := p.table.Row(&gone, now)
		row[slices.Index(p.table.Headers(), "STATUS")] = "Deleted"
		if p.opt.output == "" || p.opt.output == "wide" {
			if err := p.line(row); err != nil {
				return err
			}
		}
	}
	return nil
}

// pod prints s if what is shown of it changed; its age alone is no change.
func (p *podPrinter) pod(s *schema.PodStatus, now time.Time) error {
	pod := kube.FromStatus(s)
	row := p.table.Row(s, now)
	key := strings.Join(append(p.table.Row(s, s.StartedAt), ""), "\x00")
	if p.opt.output == "json" || p.opt.output == "yaml" {
		b, err := json.Marshal(pod)
		if err != nil {
			return err
		}
		key = string(b)
	}
	if p.shown[s.Ref] == key {
		return nil
	}
	p.shown[s.Ref] = key
	switch p.opt.output {
	case "json":
		return render.JSON(p.app.stdout, pod)
	case "yaml":
		if _, err := fmt.Fprintln(p.app.stdout, "---"); err != nil {
			return err
		}
		return render.YAML(p.app.stdout, pod)
	case "name":
		_, err := fmt.Fprintln(p.app.stdout, "pod/"+s.Name)
		return err
	default:
		return p.line(row)
	}
}

// fit makes columns wide enough for cells; they only ever grow.
func (p *podPrinter) fit(cells []string) {
	for i, cell := range cells {
		if i == len(p.widths) {
			p.widths = append(p.widths, 0)
		}
		p.widths[i] = max(p.widths[i], len([]rune(render.Safe(cell))))
	}
}

// line prints cells in columns.
func (p *podPrinter) line(cells []string) error {
	const gap = 3
	p.fit(cells)
	var b strings.Builder
	for i, cell := range cells {
		fmt.Fprintf(&b, "%-*s", p.widths[i]+gap, render.Safe(cell))
	}
	_, err := fmt.Fprintln(p.app.stdout, strings.TrimRight(b.String(), " "))
	return err
}
