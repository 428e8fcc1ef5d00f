package reconcile

import (
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
	return new(planner).plan(desired, actual, policy, now)
}

// plan is Diff, with what the planner remembers of the rounds before.
func (p *planner) plan(desired schema.DesiredState, actual schema.ActualState, policy Policy, now time.Time) Plan {
	d := differ{planner: p, policy: policy, clock: clock{now: now}, removals: make(map[string][]*schema.PodStatus)}
	if !actual.Known {
		p.forget()
		d.plan.Holds = append(d.plan.Holds, Hold{Kind: HoldUnknown, Reason: "the machines could not be listed: " + actual.Reason})
		return d.plan
	}
	p.begin(policy)
	pods, second := onePerRef(sortedPods(desired.Pods))
	d.statuses = sortedStatuses(actual)
	held := make(map[schema.Ref]schema.HeldPod, len(desired.Held))
	for _, h := range desired.Held {
		held[h.Ref] = h
	}
	waiting := turns(pods, d.statuses, now)
	d.nameless = maybeAny(d.statuses)
	for pod, status := range paired(pods, d.statuses) {
		met := p.meet(pod, status)
		switch {
		case pod == nil:
			if h, ok := held[status.Ref]; ok {
				d.keep(status, h.Reason)
			} else {
				d.unwanted(status, desired.Sources)
			}
		case second[pod.Ref] != nil:
			d.twice(pod, second[pod.Ref])
		case status != nil && exists(status) && status.Source != "" && status.Source != pod.Source:
			d.conflict(pod, status)
		case waiting[pod.Ref] != "":
			d.plan.Pending = append(d.plan.Pending, Pending{Pod: pod.Ref, Kind: KindPod, Name: pod.Name, Reason: waiting[pod.Ref]})
		case d.nameless != "" && (status == nil || !exists(status)):
			d.plan.Pending = append(d.plan.Pending, Pending{Pod: pod.Ref, Kind: KindPod, Name: pod.Name, Reason: d.nameless})
		default:
			d.add(met.diffPod(policy, now))
		}
	}
	for _, source := range desired.Sources {
		d.guard(source)
	}
	d.finish()
	p.end()
	return d.plan
}

// maybeAny says why no pod may be given a machine, nor be said to have none: one that is not proven dead and does not
// say whose it is may be any pod's. It is "" when there is none.
func maybeAny(statuses []*schema.PodStatus) string {
	for _, s := range statuses {
		if s.Namespace == "" && s.Machine == schema.MachineUnknown {
			return "machine " + s.Name + " may be this pod's: it does not say whose it is (" + s.Message + ")"
		}
	}
	return ""
}

// differ builds one plan.
type differ struct {
	planner  *planner
	policy   Policy
	clock    clock
	plan     Plan
	statuses []*schema.PodStatus // sorted, one of each Ref
	nameless string              // see maybeAny
	// removals are the pods that each source no longer names.
	removals map[string][]*schema.PodStatus
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
		d.add(diffPod(remembered(status), status, d.policy, d.clock.now))
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
	d.plan.Pending = append(d.plan.Pending, notRemoved(status, wait, false))
}

func notRemoved(status *schema.PodStatus, reason string, leaving bool) Pending {
	return Pending{Pod: status.Ref, Kind: KindPod, Name: status.Name, Reason: "not removed: " + reason, Leaving: leaving}
}

// remove plans the removal of a pod that no manifest names, unless its machine is unknown
// or the last try failed and its back-off is not over. A pod that has no machine any more
// is only to be forgotten, which waits for nothing but to be sure of that.
func (d *differ) remove(status *schema.PodStatus) {
	if !exists(status) && d.nameless != "" {
		d.plan.Pending = append(d.plan.Pending, notRemoved(status, d.nameless, false))
		return
	}
	if status.Machine == schema.MachineUnknown {
		d.plan.Pending = append(d.plan.Pending, notRemoved(status, unanswered(status), true))
		return
	}
	if f, at, ok := backsOff(status.Failures, KindPod, status.Name, schema.Failure.OfRemoval, &d.clock); ok && exists(status) {
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
func (d *differ) guard(source schema.SourceState) {
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
	if len(live) > 0 {
		total = d.podsOf(source.Path)
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

// podsOf counts the pods of a source that exist.
func (d *differ) podsOf(source string) (n int) {
	for _, s := range d.statuses {
		if s.Source == source && exists(s) {
			n++
		}
	}
	return n
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
