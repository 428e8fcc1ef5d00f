package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// podGuestsCheck says which guests the pods have that are here.
func (a *app) podGuestsCheck(ctx context.Context) driver.Check {
	const name = "guests of pods"
	s, err := a.look(ctx)
	if err != nil {
		return driver.Check{Name: name, Detail: "not looked at: " + err.Error(), Remedy: "firkin-reconcile get says more"}
	}
	defer s.close()
	return driver.Check{Name: name, OK: true, Detail: podGuests(s.pods)}
}

// podGuests words which guests pods have; those that serve the sandbox contract alone by their names.
func podGuests(pods []*schema.PodStatus) string {
	whole := map[string]int{} // by version
	var bare []string
	silent := 0
	for _, p := range pods {
		switch v := p.AgentVersion; {
		case v == "":
			silent++
		case agentpb.SandboxOnly(v):
			bare = append(bare, fmt.Sprintf("%s (%s)", p.Ref, v))
		default:
			whole[v]++
		}
	}
	var parts []string
	for v, n := range whole {
		parts = append(parts, fmt.Sprintf("%d with the pod service, version %s", n, v))
	}
	slices.Sort(parts)
	if len(bare) > 0 {
		slices.Sort(bare)
		parts = append(parts, "with the sandbox contract alone, which cannot do everything: "+strings.Join(bare, ", "))
	}
	if silent > 0 {
		parts = append(parts, fmt.Sprintf("%d that do not answer", silent))
	}
	if len(parts) == 0 {
		return "no pods are here"
	}
	return strings.Join(parts, "; ")
}
