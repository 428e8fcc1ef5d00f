package reconcile

import (
	"fmt"
	"slices"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// podPlan is one pod's part of a plan.
type podPlan struct {
	actions []Action
	pending []Pending
	// next is when the clock alone changes what is to be done; zero if it does not.
	next time.Time
	// turn is until when the plan stands as long as pod and status do; zero: for good.
	turn time.Time
}

// diffPod returns what one desired pod needs in this round. status is nil when nothing is
// known of it. The first rule that matches wins:
//
//  1. Its machine neither answers nor is proven dead: nothing is done to it.
//  2. There is no machine: it is added, with its volumes and the first containers.
//  3. Its VM, dead or alive, is of another kind: it is removed, to be added in the next
//     round. One whose VMDigest cannot be told is not known to differ; one in which a
//     container runs that could not be started again stays.
//  4. Its machine is dead and its time is over: it stays dead.
//  5. Its machine is dead, or runs and was never told who it is: it is added again.
//  6. Otherwise what is inside is made so (see inside).
//
// Within a pod the order is: remove, wait, add, trim.
func diffPod(pod *schema.Pod, status *schema.PodStatus, policy Policy, now time.Time) podPlan {
	if status == nil {
		status = &schema.PodStatus{Ref: pod.Ref, Machine: schema.MachineAbsent}
	}
	d := podDiffer{view: view{clock: clock{now: now}, pod: pod, status: status}, policy: policy}
	switch {
	case status.Machine == schema.MachineUnknown:
		d.wait(KindPod, pod.Name, unanswered(status), time.Time{})
	case status.Machine == schema.MachineAbsent:
		if d.try(KindPod, pod.Name, pod.VMDigest(), causeMissing) {
			d.status = &schema.PodStatus{Ref: pod.Ref, Failures: status.Failures}
			d.inside()
		}
	case (status.Machine == schema.MachineDead || status.Configured) && status.VMDigest != "" && status.VMDigest != pod.VMDigest():
		d.replaceVM()
	case status.Machine == schema.MachineDead && d.fate().kind == fateOverdue:
	case status.Machine == schema.MachineDead:
		d.try(KindPod, pod.Name, pod.VMDigest(), "its VM died"+because(status.Message))
	case !status.Configured:
		d.try(KindPod, pod.Name, pod.VMDigest(), "its VM runs and was not set up to the end")
	default:
		d.inside()
	}
	d.turn = d.clock.turn
	return d.podPlan
}

// causeMissing is the cause of an add of what is not there; see replacing.
const causeMissing = "it is in the manifest and does not run"

func unanswered(s *schema.PodStatus) string {
	return "its machine neither answers nor is it proven dead: " + s.Message
}

func because(message string) string {
	if message == "" {
		return ""
	}
	return ": " + message
}

// podDiffer builds one pod's plan.
type podDiffer struct {
	podPlan
	view
	policy Policy
	// goingContainers and goingVolumes are removed in this round, or have to be as soon as
	// that is possible; they are added in a later one.
	goingContainers map[string]bool
	goingVolumes    map[string]bool
	// replaced are the volumes that have to give way to others of their name, with the cause.
	replaced map[string]string
	// heldVolumes have to change and cannot yet; they stay as they are.
	heldVolumes map[string]bool
	// adding are the volumes that are made in this round.
	adding map[string]bool
	// heldInits are init containers that have to run and cannot yet.
	heldInits map[string]bool
	// stuck are the containers that have to go and could not be removed yet.
	stuck map[string]bool
	// unstarted: a sidecar has not started yet.
	unstarted bool
	// over: the pod has ended; its sidecars are not started any more.
	over bool
}

func (d *podDiffer) grace() time.Duration {
	return time.Duration(d.pod.GraceSeconds) * time.Second
}

func (d *podDiffer) wait(kind Kind, name, reason string, until time.Time) {
	d.pending = append(d.pending, Pending{Pod: d.pod.Ref, Kind: kind, Name: name, Reason: reason, Until: until})
}

// lacking notes what waits for data that is missing.
func (d *podDiffer) lacking(kind Kind, name, reason string) {
	d.pending = append(d.pending, Pending{Pod: d.pod.Ref, Kind: kind, Name: name, Reason: reason, Missing: true})
}

// attempt plans a removal or a wait, unless one failed and its back-off is not over; of
// which spec does not matter, since the object is the same.
func (d *podDiffer) attempt(a Action) bool {
	counts := anyFailure
	if a.Type == Remove {
		// That an object does not boot, or its image cannot be pulled, is no reason to put off
		// its removal.
		counts = schema.Failure.OfRemoval
	}
	if f, at, ok := backsOff(d.status.Failures, a.Kind, a.Name, counts, &d.clock); ok {
		d.pending = append(d.pending, failed(d.pod.Ref, f, at))
		if a.Type == Remove && a.Kind == KindContainer {
			if d.stuck == nil {
				d.stuck = make(map[string]bool)
			}
			d.stuck[a.Name] = true
		}
		return false
	}
	d.actions = append(d.actions, a)
	return true
}

// try plans an add, unless one of the same spec failed and its back-off is not over.
func (d *podDiffer) try(kind Kind, name, digest, cause string) bool {
	if f, ok := failureOf(d.status, kind, name, digest); ok {
		if at := retryAt(f); !d.reached(at) && !d.ahead(f.At, retryMost) {
			d.pending = append(d.pending, failed(d.pod.Ref, f, at))
			return false
		}
		cause += fmt.Sprintf(" (try %d)", f.Attempts+1)
	}
	d.actions = append(d.actions, Action{Type: Add, Kind: kind, Pod: d.pod.Ref, Name: name, Cause: cause, Spec: d.pod})
	return true
}

// replaceVM plans the removal of a pod whose VM has to be another one.
func (d *podDiffer) replaceVM() {
	cause := vmChange(d.status.Spec, d.pod)
	for i := range d.status.Containers {
		s := &d.status.Containers[i]
		if d.status.Machine != schema.MachineRunning || s.State != schema.ContainerRunning {
			continue
		}
		// In the next VM there is none of what this one holds.
		if words := Lacks(d.pod, nil, s.Name); len(words) > 0 {
			d.lacking(KindPod, d.pod.Name, fmt.Sprintf("not replaced (%s): container %s, which runs, %s", cause, s.Name, waitsFor(words)))
			d.keepVM()
			return
		}
	}
	a := removePod(d.status, cause, true)
	a.Grace = d.grace()
	d.attempt(a)
}

// keepVM maintains a pod in the VM that it has, as it was last applied, as far as that is known.
func (d *podDiffer) keepVM() {
	if d.status.Spec == nil || !d.status.Configured {
		return
	}
	kept := podDiffer{view: view{clock: d.clock, pod: remembered(d.status), status: d.status}, policy: d.policy}
	if kept.pod.VMDigest() != d.status.VMDigest {
		return
	}
	kept.inside()
	d.actions = append(d.actions, kept.actions...)
	d.pending = append(d.pending, kept.pending...)
	d.next, d.clock = kept.next, kept.clock
}

// inside makes the containers and volumes of a running pod so. A pod whose time is over,
// or that failed as often as its Job allows, ends (see end); one that its Job tries again is
// cleared away (see nextTry). Otherwise:
//
//  1. Containers that changed, went, or mount a volume that is replaced are removed, the
//     last first. A changed init container takes everything that came after it along, as
//     what it prepared no longer holds; so does one whose emptyDir changes or was lost
//     (one in memory is, with its VM), as long as something is still to run on it. A
//     changed sidecar goes alone. The sidecars of a pod that has ended go too.
//  2. Volumes that are replaced or went are removed, once no container mounts them.
//  3. Containers that ended are waited for (reaped).
//  4. Volumes are added; files that changed are changed in place.
//  5. Init containers are added one after the other, each when the one before has ended
//     well or, a sidecar, has started.
//  6. Containers are added, all at once, when that is so of all init containers.
//  7. A pod with nothing to do may be trimmed.
//
// Whatever could not be started for want of data is left as it is (see Lacks).
func (d *podDiffer) inside() {
	f := d.fate()
	d.wakeAtDeadline(f)
	switch f.kind {
	case fateOverdue:
		d.end(d.overdueWords())
		return
	case fateExhausted:
		d.end(d.exhaustedWords(f.sick))
		return
	case fateRetry:
		d.nextTry(f.sick)
		return
	}
	d.findReplacements()
	d.removeContainers(f)
	d.removeVolumes()
	d.reap()
	d.addVolumes()
	if d.addInitContainers() {
		d.addContainers()
	}
	d.trim()
}

// causeNone is causeMissing of a volume.
const causeNone = "it is in the manifest and does not exist"

// wakeAtDeadline has the plan looked at again when the pod's time is over.
func (d *podDiffer) wakeAtDeadline(f fate) {
	if at, ok := d.deadline(); ok && (f.kind == fateOpen || f.kind == fateRetry) {
		d.next = at
	}
}

// end plans the end of everything that runs in a pod that does nothing more.
func (d *podDiffer) end(cause string) {
	for _, s := range d.inReverse() {
		if !hasEnded(s) {
			a := d.removal(s, cause)
			a.Replacing = false
			d.attempt(a)
		}
	}
	d.reap()
}

// reap plans the waits for containers that ended, in the order of the manifest.
func (d *podDiffer) reap() {
	exited := func(c schema.ContainerStatus) bool {
		return c.State == schema.ContainerExited && !d.goingContainers[c.Name]
	}
	if !slices.ContainsFunc(d.status.Containers, exited) {
		return
	}
	for _, c := range slices.Backward(d.inReverse()) {
		if exited(*c) {
			d.attempt(Action{Type: Wait, Kind: KindContainer, Pod: d.pod.Ref, Name: c.Name, Cause: ending(c), Spec: d.pod})
		}
	}
}
