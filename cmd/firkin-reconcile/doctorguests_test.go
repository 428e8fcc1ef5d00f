package main

import (
	"testing"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestPodGuests(t *testing.T) {
	pod := func(name, version string) *schema.PodStatus {
		return &schema.PodStatus{Ref: schema.Ref{Namespace: "default", Name: name}, AgentVersion: version}
	}
	for _, c := range []struct {
		pods []*schema.PodStatus
		want string
	}{
		{nil, "no pods are here"},
		{[]*schema.PodStatus{pod("a", "v1"), pod("b", "v1")}, "2 with the pod service, version v1"},
		{
			[]*schema.PodStatus{pod("z", "sandbox/v9"), pod("a", "v1"), pod("s", "sandbox/v9"), pod("m", "")},
			"1 with the pod service, version v1; with the sandbox contract alone, which cannot do everything: " +
				"default/s (sandbox/v9), default/z (sandbox/v9); 1 that do not answer",
		},
	} {
		if got := podGuests(c.pods); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
