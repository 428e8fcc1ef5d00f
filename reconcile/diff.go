package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Diff returns the actions of one round. It is a pure function: inputs in any order give
// an equal plan. There is at most one action per object (replacing is remove now, add in
// the next round), so that no plan goes stale.
//
// What is decided here is which pods are wanted, left alone or removed:
//
//  1. Machines that could not be listed: nothing is done.
//  2. A pod that another source made and this one names too, or that the manifests name
//     twice: held, loudly.
//  3. A desired pod: diffPod makes it so, when it is its turn in its Job.
//  4. A held pod whose manifest is not known: kept as it was last applied.
//  5. A pod of none of the sources: none of our business.
//  6. A pod that its source no longer names: removed, unless a guard holds it (see guard).
func Diff(desired schema.DesiredState, actual schema.ActualState, policy Policy, now time.Time) Plan {
	d := differ{policy: policy, now: now, removals: make(map[string][]*schema.PodStatus)}
	if !actual.Known {
		d.plan.Holds = append(d.plan.Holds, Hold{Kind: HoldUnknown, Reason: "the machines could not be listed: " + actual.Reason})
		return d.plan
	}
	statuses := statusesOf(actual)
	held := make(map[schema.Ref]schema.HeldPod, len(desired.Held))
	for _, h := range desired.Held {
		held[h.Ref] = h
	}
	wanted := make(map[schema.Ref]bool, len(desired.Pods))
	sorted := sortedPods(desired.Pods)
	waiting := turns(sorted, statuses, now)
	for i, pod := range sorted {
		if wanted[pod.Ref] {
			continue // said of the first
		}
		wanted[pod.Ref] = true
		if i+1 < len(sorted) && sorted[i+1].Ref == pod.Ref {
			d.twice(pod, sorted[i+1])
			continue
		}
		status := statuses[pod.Ref]
		if status != nil && exists(status) && status.Source != "" && status.Source != pod.Source {
			d.conflict(pod, status)
			continue
		}
		if reason, ok := waiting[pod.Ref]; ok {
			d.plan.Pending = append(d.plan.Pending, Pending{Pod: pod.Ref, Kind: KindPod, Name: pod.Name, Reason: reason})
			continue
		}
		d.add(diffPod(pod, status, policy, now))
	}
	for _, status := range sortedStatuses(statuses) {
		if wanted[status.Ref] {
			continue
		}
		if h, ok := held[status.Ref]; ok {
			d.keep(status, h.Reason)
			continue
		}
		d.unwanted(status, desired.Sources)
	}
	for _, source := range desired.Sources {
		d.guard(source, statuses)
	}
	d.finish()
	return d.plan
}

// differ builds one plan.
type differ struct {
	policy Policy
	now    time.Time
	plan   Plan
	// removals are the pods that each source no longer names.
	removals map[string][]*schema.PodStatus
}

// statusesOf returns the statuses by pod. A pod that has several is unknown: it cannot be
// told which of them is meant.
func statusesOf(actual schema.ActualState) map[schema.Ref]*schema.PodStatus {
	m := make(map[schema.Ref]*schema.PodStatus, len(actual.Pods))
	for i := range actual.Pods {
		s := &actual.Pods[i]
		first, ok := m[s.Ref]
		if !ok {
			m[s.Ref] = s
			continue
		}
		one := *first
		if cmp.Or(cmp.Compare(s.UID, first.UID), cmp.Compare(s.Source, first.Source)) < 0 {
			one = *s
		}
		one.Machine, one.Message, one.Spec = schema.MachineUnknown, "several machines claim to be it", nil
		m[s.Ref] = &one
	}
	return m
}

func sortedPods(pods []schema.Pod) []*schema.Pod {
	list := make([]*schema.Pod, len(pods))
	for i := range pods {
		list[i] = &pods[i]
	}
	slices.SortFunc(list, func(a, b *schema.Pod) int {
		if n := a.Ref.Compare(b.Ref); n != 0 {
			return n
		}
		return cmp.Or(
			strings.Compare(a.Source, b.Source),
			strings.Compare(a.Origin.File, b.Origin.File),
			cmp.Compare(a.Origin.Line, b.Origin.Line),
		)
	})
	return list
}

func sortedStatuses(m map[schema.Ref]*schema.PodStatus) []*schema.PodStatus {
	list := make([]*schema.PodStatus, 0, len(m))
	for _, s := range m {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *schema.PodStatus) int { return a.Ref.Compare(b.Ref) })
	return list
}

// exists tells whether there is a machine, dead or alive.
func exists(s *schema.PodStatus) bool { return s.Machine != schema.MachineAbsent }

func (d *differ) add(p podPlan) {
	d.plan.Actions = append(d.plan.Actions, p.actions...)
	d.plan.Pending = append(d.plan.Pending, p.pending...)
	d.wakeAt(p.next)
}

// wakeAt has Plan.Next come no later than a time, if it is not zero.
func (d *differ) wakeAt(t time.Time) {
	if !t.IsZero() && (d.plan.Next.IsZero() || t.Before(d.plan.Next)) {
		d.plan.Next = t
	}
}

func (d *differ) conflict(pod *schema.Pod, status *schema.PodStatus) {
	d.plan.Holds = append(d.plan.Holds, Hold{
		Kind:   HoldConflict,
		Source: pod.Source,
		Pods:   []schema.Ref{pod.Ref},
		Reason: fmt.Sprintf("pod %s was applied from %s, and %s names it too (%s)", pod.Ref, status.Source, pod.Source, pod.Origin.File),
		Remedy: "apply the first again, or delete the pod and apply the second",
	})
}

// twice holds a pod that the manifests name twice.
func (d *differ) twice(pod, other *schema.Pod) {
	d.plan.Holds = append(d.plan.Holds, Hold{
		Kind:   HoldConflict,
		Source: pod.Source,
		Pods:   []schema.Ref{pod.Ref},
		Reason: fmt.Sprintf("pod %s is named twice: at %s:%d and at %s:%d",
			pod.Ref, pod.Origin.File, pod.Origin.Line, other.Origin.File, other.Origin.Line),
		Remedy: "take one of them out",
	})
}

// keep maintains a held pod as it was last applied, as far as that is known.
func (d *differ) keep(status *schema.PodStatus, reason string) {
	if status.Spec != nil && exists(status) {
		d.add(diffPod(remembered(status), status, d.policy, d.now))
	}
	d.plan.Pending = append(d.plan.Pending, Pending{Pod: status.Ref, Kind: KindPod, Name: status.Name, Reason: "held: " + reason})
}

// unwanted decides about a pod that no manifest names.
func (d *differ) unwanted(status *schema.PodStatus, sources []schema.SourceState) {
	i := slices.IndexFunc(sources, func(s schema.SourceState) bool { return s.Path == status.Source })
	if i < 0 || !sources[i].Prune {
		return
	}
	source := sources[i]
	var wait string
	switch {
	case !source.Known:
		wait = source.Reason
	case len(source.HeldFiles) > 0:
		wait = "it may be in a file that cannot be used: " + source.HeldFiles[0]
	case status.Spec != nil && slices.Contains(source.Unclear, status.Spec.Origin.File):
		wait = "the file it came from has errors or is empty: " + status.Spec.Origin.File
	default:
		d.removals[source.Path] = append(d.removals[source.Path], status)
		return
	}
	d.notRemoved(status, wait)
}

func (d *differ) notRemoved(status *schema.PodStatus, reason string) {
	d.plan.Pending = append(d.plan.Pending, Pending{Pod: status.Ref, Kind: KindPod, Name: status.Name, Reason: "not removed: " + reason})
}

// remove plans the removal of a pod that no manifest names, unless its machine is unknown
// or the last try failed and its back-off is not over.
func (d *differ) remove(status *schema.PodStatus) {
	if status.Machine == schema.MachineUnknown {
		d.notRemoved(status, unanswered(status))
		return
	}
	if f, at, ok := backsOff(status.Failures, KindPod, status.Name, ofRemoval, d.now); ok {
		d.plan.Pending = append(d.plan.Pending, failed(status.Ref, f, at))
		return
	}
	d.plan.Actions = append(d.plan.Actions, removePod(status, "its manifest is gone", false))
}

// guard holds or lets pass the removals of one source:
//
//  1. A source that is not known: said loudly; nothing of it got here.
//  2. A source that turned empty: held, unless the policy allows it.
//  3. More removals than the budget allows: all of them are held. Pods whose machine is
//     unknown count too: they would go as soon as they answer.
func (d *differ) guard(source schema.SourceState, statuses map[schema.Ref]*schema.PodStatus) {
	if !source.Known {
		d.plan.Holds = append(d.plan.Holds, Hold{
			Kind: HoldUnknown, Source: source.Path,
			Reason: source.Reason + "; the pods of " + source.Path + " are left as they are",
		})
		return
	}
	removals := d.removals[source.Path]
	live := make([]schema.Ref, 0, len(removals))
	for _, s := range removals {
		if exists(s) {
			live = append(live, s.Ref)
		}
	}
	total := 0
	for _, s := range statuses {
		if s.Source == source.Path && exists(s) {
			total++
		}
	}
	switch {
	case len(live) == 0:
	case source.Empty && d.policy.AllowEmpty:
	case source.Empty:
		d.plan.Holds = append(d.plan.Holds, Hold{
			Kind: HoldEmpty, Source: source.Path, Pods: live,
			Reason: source.Path + " turned empty; its pods are kept",
			Remedy: "if they are to go, allow it with --allow-empty",
		})
		return
	case !d.policy.MaxRemovals.allows(len(live), total):
		d.plan.Holds = append(d.plan.Holds, Hold{
			Kind: HoldBudget, Source: source.Path, Pods: live,
			Reason: fmt.Sprintf("%d of the %d pods of %s would be removed, more than --max-removals %s allows; none is", len(live), total, source.Path, d.policy.MaxRemovals),
			Remedy: fmt.Sprintf("if they are to go, allow it with --max-removals %d", len(live)),
		})
		return
	}
	for _, s := range removals {
		d.remove(s)
	}
}

// finish puts the plan in order and works out when to look again.
func (d *differ) finish() {
	slices.SortStableFunc(d.plan.Actions, func(a, b Action) int { return a.Pod.Compare(b.Pod) })
	slices.SortStableFunc(d.plan.Pending, func(a, b Pending) int { return a.Pod.Compare(b.Pod) })
	slices.SortStableFunc(d.plan.Holds, func(a, b Hold) int { return strings.Compare(a.Source, b.Source) })
	for _, p := range d.plan.Pending {
		d.wakeAt(p.Until)
	}
}

func removePod(s *schema.PodStatus, cause string, replacing bool) Action {
	a := Action{
		Type: Remove, Kind: KindPod, Pod: s.Ref, Name: s.Name, Cause: cause,
		Disruptive: exists(s), Replacing: replacing, Spec: s.Spec,
	}
	if s.Spec != nil {
		a.Grace = time.Duration(s.Spec.GraceSeconds) * time.Second
	}
	return a
}
