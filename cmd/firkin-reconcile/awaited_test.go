package main

import (
	"testing"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestAwaited: what is waited for is told at each look, and whatever changes is judged anew.
func TestAwaited(t *testing.T) {
	pod := func(name string) *schema.Pod {
		return &schema.Pod{Ref: schema.Ref{Namespace: "default", Name: name}, Containers: []schema.Container{{Name: "c"}}}
	}
	status := func(p *schema.Pod, ready bool) *schema.PodStatus {
		c := schema.ContainerStatus{Name: "c", Digest: p.Containers[0].Digest(), State: schema.ContainerRunning, Started: true, Ready: true}
		s := &schema.PodStatus{Ref: p.Ref, Machine: schema.MachineRunning, Configured: true, Containers: []schema.ContainerStatus{c}}
		if !ready {
			s.Machine = schema.MachineUnknown
		}
		return s
	}
	a, b, c := pod("a"), pod("b"), pod("c")
	readyA, readyB := status(a, true), status(b, true)
	silentB := status(b, false)
	other := status(pod("bb"), false)
	changedA := pod("a")
	changedA.Containers[0].Readiness = &schema.Probe{FailureThreshold: 1}
	unready := *status(changedA, true)
	unready.Containers = []schema.ContainerStatus{{Name: "c", Digest: changedA.Containers[0].Digest(), State: schema.ContainerRunning, Started: true}}
	var w awaited
	for i, step := range []struct {
		want []*schema.Pod
		seen []*schema.PodStatus
		says string
	}{
		{nil, nil, ""},
		{[]*schema.Pod{a, b}, []*schema.PodStatus{readyA, silentB}, "waiting for default/b (MachineUnknown)"},
		{[]*schema.Pod{a, b}, []*schema.PodStatus{readyA, silentB, other}, "waiting for default/b (MachineUnknown)"},
		{[]*schema.Pod{a, b}, []*schema.PodStatus{readyA, readyB}, ""},
		{[]*schema.Pod{a, b, c}, []*schema.PodStatus{readyA, readyB}, ""}, // c is being started, which shows by itself
		{[]*schema.Pod{a, b}, []*schema.PodStatus{readyA, silentB}, "waiting for default/b (MachineUnknown)"},
		{[]*schema.Pod{changedA}, []*schema.PodStatus{&unready}, "waiting for default/a (NotReady)"},
		{[]*schema.Pod{a}, []*schema.PodStatus{readyA}, ""},
	} {
		if got := w.look(step.want, step.seen); got != step.says {
			t.Errorf("step %d: %q, want %q", i, got, step.says)
		}
	}
}

// TestNotAmong: the same pointer is the same pod.
func TestNotAmong(t *testing.T) {
	pod := func(name string) *schema.Pod { return &schema.Pod{Ref: schema.Ref{Namespace: "default", Name: name}} }
	a, b, c := pod("a"), pod("b"), pod("c")
	changed := pod("b")
	got := notAmong([]*schema.Pod{a, changed, c, pod("d")}, []*schema.Pod{a, b, c})
	if len(got) != 2 || got[0] != changed || got[1].Name != "d" {
		t.Errorf("got %v", got)
	}
	if got := notAmong([]*schema.Pod{a, c}, []*schema.Pod{a, b, c}); got != nil {
		t.Errorf("got %v", got)
	}
}
