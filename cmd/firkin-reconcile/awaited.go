package main

import (
	"fmt"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// awaited says which pods are waited for. There may be thousands: one that is ready is not
// judged again while it and its status are the same.
type awaited struct {
	// calm are the pods of the last look that were not waited for, sorted by Ref.
	calm []calmPod
}

// calmPod is a pod that is not waited for with that status.
type calmPod struct {
	pod    *schema.Pod
	status *schema.PodStatus
}

// look names the pods that are not ready and do not become so by what is being done, "" when
// there are none. Both lists are sorted by Ref.
func (w *awaited) look(want []*schema.Pod, seen []*schema.PodStatus) string {
	const enough = 3
	before := cursor[calmPod]{w.calm, func(c calmPod) schema.Ref { return c.pod.Ref }}
	statuses := alongStatuses(seen)
	w.calm = make([]calmPod, 0, len(want))
	var names []string
	for _, p := range want {
		now := calmPod{p, statuses.at(p.Ref)}
		if before.at(p.Ref) == now {
			w.calm = append(w.calm, now)
			continue
		}
		switch v := reconcile.Assess(now.pod, now.status); {
		case v.Ready, v.Final:
			w.calm = append(w.calm, now)
		case !passing(v.Reason):
			names = append(names, fmt.Sprintf("%s (%s)", p.Ref, v.Reason))
		}
	}
	if len(names) == 0 {
		return ""
	}
	more := ""
	if n := len(names) - enough; n > 0 {
		names, more = names[:enough], fmt.Sprintf(" and %d more", n)
	}
	return "waiting for " + strings.Join(names, ", ") + more
}

// passing tells reasons that end by themselves; the actions that end them are shown.
func passing(reason string) bool {
	return reason == "NotStarted" || reason == "ContainerCreating" || reason == "PodInitializing"
}
