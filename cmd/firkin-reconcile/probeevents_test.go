package main

import (
	"slices"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestHealthWatch(t *testing.T) {
	spec := &schema.Container{Name: "web", Readiness: &schema.Probe{FailureThreshold: 1}, Liveness: &schema.Probe{FailureThreshold: 2}}
	look := func(id string, ready bool, probes ...schema.ProbeStatus) []*schema.PodStatus {
		c := schema.ContainerStatus{Name: "web", ID: id, State: schema.ContainerRunning, Spec: spec, Started: true, Ready: ready, Probes: probes}
		return []*schema.PodStatus{{Ref: schema.Ref{Namespace: "default", Name: "web"}, Machine: schema.MachineRunning, Containers: []schema.ContainerStatus{c}}}
	}
	live := func(failures int) schema.ProbeStatus {
		return schema.ProbeStatus{Kind: schema.ProbeLiveness, OK: failures == 0, Failures: failures, Message: "HTTP status 503"}
	}
	silent := look("1", false)
	silent[0].Machine, silent[0].Containers = schema.MachineUnknown, nil
	var h healthWatch
	for i, step := range []struct {
		pods []*schema.PodStatus
		want []string
	}{
		{look("1", false), nil},
		{look("1", true, live(0)), []string{"Ready: it is ready"}},
		{look("1", true, live(0)), nil},
		{silent, nil},
		{look("1", true, live(1)), []string{"Unhealthy: Liveness probe failed: HTTP status 503"}},
		{look("1", true, live(1)), nil},
		{
			look("1", false, schema.ProbeStatus{Kind: schema.ProbeReadiness, Failures: 1, Message: "refused"}, live(2)),
			[]string{"Unhealthy: Readiness probe failed: refused", "Unhealthy: Liveness probe failed: HTTP status 503", "Killing: it failed its liveness probe and is ended", "Unready: it is not ready any more"},
		},
		{look("2", false), nil},
		{look("2", true), []string{"Ready: it is ready"}},
		{nil, nil},
		{look("2", true), []string{"Ready: it is ready"}},
	} {
		var got []string
		for _, e := range h.look(step.pods) {
			if e.Pod != "default/web" || e.Object != "container/web" {
				t.Errorf("step %d: event of %s %s", i, e.Pod, e.Object)
			}
			got = append(got, e.Reason+": "+e.Message)
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("step %d: events %q, want %q", i, got, step.want)
		}
	}
}
