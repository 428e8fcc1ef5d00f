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
	// calm are pods that were not waited for with that status.
	calm map[*schema.Pod]*schema.PodStatus
}

// look names the pods that are not ready, "" when all are.
func (w *awaited) look(want []*schema.Pod, seen []*schema.PodStatus) string {
	const enough = 3
	if w.calm == nil || len(w.calm) > 2*len(want) {
		w.calm = make(map[*schema.Pod]*schema.PodStatus, len(want)) // and what is gone is let go of
	}
	var names []string
	for _, p := range want {
		for len(seen) > 0 && seen[0].Ref.Compare(p.Ref) < 0 {
			seen = seen[1:]
		}
		var status *schema.PodStatus
		if len(seen) > 0 && seen[0].Ref == p.Ref {
			status = seen[0]
		}
		if was, ok := w.calm[p]; ok && was == status {
			continue
		}
		v := reconcile.Assess(p, status)
		if !v.Ready && !v.Final {
			delete(w.calm, p)
			if !passing(v.Reason) {
				names = append(names, fmt.Sprintf("%s (%s)", p.Ref, v.Reason))
			}
			continue
		}
		w.calm[p] = status
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
