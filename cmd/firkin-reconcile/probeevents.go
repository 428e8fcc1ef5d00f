package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/journal"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// healthWatch turns what probes find into events, by comparing one look at the pods with
// the one before. What happened between two looks and is undone again shows in none.
type healthWatch struct {
	// seen are the pods of the last look as they were last heard, sorted by Ref; nil before
	// the first look.
	seen []*schema.PodStatus
}

// look returns what is news since the last look.
func (h *healthWatch) look(pods []*schema.PodStatus) []journal.Event {
	first, before := h.seen == nil, alongStatuses(h.seen)
	h.seen = make([]*schema.PodStatus, 0, len(pods))
	var events []journal.Event
	for _, p := range pods {
		was := before.at(p.Ref)
		switch {
		case p == was:
		case p.Machine == schema.MachineUnknown && was == nil:
			continue
		case p.Machine == schema.MachineUnknown:
			p = was // it may say the same when it is heard again
		case !first:
			events = append(events, podChanges(was, p)...)
		}
		h.seen = append(h.seen, p)
	}
	return events
}

// podChanges are the events between two looks at one pod; before is nil when it was not there.
func podChanges(before, p *schema.PodStatus) []journal.Event {
	var events []journal.Event
	for i := range p.Containers {
		c, was := &p.Containers[i], schema.ContainerStatus{}
		if before != nil {
			if j := slices.IndexFunc(before.Containers, func(b schema.ContainerStatus) bool { return b.Name == c.Name }); j >= 0 {
				was = before.Containers[j]
			}
		}
		events = append(events, changes(p.Ref, &was, c)...)
	}
	return events
}

// changes are the events between two looks at one container; before is the zero status
// when it was not there.
func changes(pod schema.Ref, before, c *schema.ContainerStatus) []journal.Event {
	if before.ID != c.ID {
		before = &schema.ContainerStatus{}
	}
	var events []journal.Event
	say := func(typ journal.Type, reason, format string, args ...any) {
		events = append(events, journal.Event{
			Type: typ, Reason: reason, Pod: pod.String(), Object: "container/" + c.Name, Message: fmt.Sprintf(format, args...),
		})
	}
	for _, p := range c.Probes {
		old := probeOf(before, p.Kind)
		if p.OK || p.Failures == 0 || p.Failures == old.Failures && !old.OK {
			continue
		}
		kind := strings.ToUpper(p.Kind[:1]) + p.Kind[1:]
		say(journal.Warning, "Unhealthy", "%s probe failed: %s", kind, p.Message)
		if n := threshold(c.Spec, p.Kind); n > 0 && p.Failures >= n && (old.OK || old.Failures < n) {
			say(journal.Normal, "Killing", "it failed its %s probe and is ended", p.Kind)
		}
	}
	switch probed := c.Spec != nil && (c.Spec.Readiness != nil || c.Spec.Startup != nil); {
	case probed && c.Ready && !before.Ready:
		say(journal.Normal, "Ready", "it is ready")
	case probed && !c.Ready && before.Ready && c.State == schema.ContainerRunning:
		say(journal.Warning, "Unready", "it is not ready any more")
	}
	return events
}

func probeOf(c *schema.ContainerStatus, kind string) schema.ProbeStatus {
	for _, p := range c.Probes {
		if p.Kind == kind {
			return p
		}
	}
	return schema.ProbeStatus{OK: true}
}

// threshold is how many failures in a row end the container, 0 when none do.
func threshold(spec *schema.Container, kind string) int {
	var p *schema.Probe
	switch {
	case spec == nil:
	case kind == schema.ProbeLiveness:
		p = spec.Liveness
	case kind == schema.ProbeStartup:
		p = spec.Startup
	}
	if p == nil {
		return 0
	}
	return int(p.FailureThreshold)
}
