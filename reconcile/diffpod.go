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
}

// diffPod returns what one desired pod needs in this round. status is nil when nothing is
// known of it. The first rule that matches wins:
//
//  1. Its machine neither answers nor is proven dead: nothing is done to it.
//  2. There is no machine: it is added, with its emptyDirs and the first containers.
//  3. Its VM, dead or alive, is of another size: it is removed, to be added in the next
//     round. One whose VMDigest cannot be told is not known to differ.
//  4. Its machine is dead, or runs and was never told who it is: it is added again.
//  5. Otherwise what is inside is made so (see inside).
//
// Within a pod the order is: remove, wait, add, trim.
func diffPod(pod *schema.Pod, status *schema.PodStatus, policy Policy, now time.Time) podPlan {
	d := podDiffer{pod: pod, status: status, policy: policy, now: now}
	switch {
	case status != nil && status.Machine == schema.MachineUnknown:
		d.wait(KindPod, pod.Name, unanswered(status), time.Time{})
	case status == nil || status.Machine == schema.MachineAbsent:
		if d.try(KindPod, pod.Name, pod.VMDigest(), causeMissing) {
			d.inside(&schema.PodStatus{Ref: pod.Ref, Failures: failures(status)})
		}
	case (status.Machine == schema.MachineDead || status.Configured) && status.VMDigest != "" && status.VMDigest != pod.VMDigest():
		a := removePod(status, vmChange(status.Spec, pod), true)
		a.Grace = d.grace()
		d.attempt(a)
	case status.Machine == schema.MachineDead:
		d.try(KindPod, pod.Name, pod.VMDigest(), "its VM died"+because(status.Message))
	case !status.Configured:
		d.try(KindPod, pod.Name, pod.VMDigest(), "its VM runs and was not set up to the end")
	default:
		d.inside(status)
	}
	return d.podPlan
}

// causeMissing is the cause of an add of what is not there; see replacing.
const causeMissing = "it is in the manifest and does not run"

func unanswered(s *schema.PodStatus) string {
	return "its machine neither answers nor is it proven dead: " + s.Message
}

func failures(status *schema.PodStatus) []schema.Failure {
	if status == nil {
		return nil
	}
	return status.Failures
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
	pod    *schema.Pod
	status *schema.PodStatus
	policy Policy
	now    time.Time
	// going are the objects removed in this round; they are added in the next.
	goingContainers map[string]bool
	goingEmptyDirs  map[string]bool
	// stuck are the containers that have to go and could not be removed yet.
	stuck map[string]bool
}

func (d *podDiffer) grace() time.Duration {
	return time.Duration(d.pod.GraceSeconds) * time.Second
}

func (d *podDiffer) wait(kind Kind, name, reason string, until time.Time) {
	d.pending = append(d.pending, Pending{Pod: d.pod.Ref, Kind: kind, Name: name, Reason: reason, Until: until})
}

// attempt plans a removal or a wait, unless one failed and its back-off is not over; of
// which spec does not matter, since the object is the same.
func (d *podDiffer) attempt(a Action) {
	counts := anyFailure
	if a.Type == Remove {
		counts = ofRemoval
	}
	if f, at, ok := backsOff(failures(d.status), a.Kind, a.Name, counts, d.now); ok {
		d.pending = append(d.pending, failed(d.pod.Ref, f, at))
		if a.Type == Remove && a.Kind == KindContainer {
			if d.stuck == nil {
				d.stuck = make(map[string]bool)
			}
			d.stuck[a.Name] = true
		}
		return
	}
	d.actions = append(d.actions, a)
}

// try plans an add, unless one of the same spec failed and its back-off is not over.
func (d *podDiffer) try(kind Kind, name, digest, cause string) bool {
	if f, ok := failureOf(d.status, kind, name, digest); ok {
		if at := retryAt(f); d.now.Before(at) && !ahead(f.At, d.now, retryMost) {
			d.pending = append(d.pending, failed(d.pod.Ref, f, at))
			return false
		}
		cause += fmt.Sprintf(" (try %d)", f.Attempts+1)
	}
	d.actions = append(d.actions, Action{Type: Add, Kind: kind, Pod: d.pod.Ref, Name: name, Cause: cause, Spec: d.pod})
	return true
}

// inside makes the containers and emptyDirs of a running pod so:
//
//  1. Containers that changed, went, or mount an emptyDir that changes are removed, the
//     last first. A changed init container takes everything that came after it along, as
//     what it prepared no longer holds; so does one whose emptyDir changes or was lost
//     (one in memory is, with its VM), as long as something is still to run on it.
//  2. EmptyDirs that changed or went are removed, once no container mounts them.
//  3. Containers that ended are waited for (reaped).
//  4. EmptyDirs are added.
//  5. Init containers are added one after the other, each when the one before has ended well.
//  6. Containers are added, all at once, when all init containers have ended well.
//  7. A pod with nothing to do may be trimmed.
func (d *podDiffer) inside(status *schema.PodStatus) {
	d.removeContainers(status)
	d.removeEmptyDirs(status)
	d.reap(status)
	for i := range d.pod.EmptyDirs {
		e := &d.pod.EmptyDirs[i]
		if findEmptyDir(status, e.Name) == nil && !d.goingEmptyDirs[e.Name] {
			d.try(KindEmptyDir, e.Name, e.Digest(), causeNone)
		}
	}
	if d.addInitContainers(status) {
		d.addContainers(status)
	}
	d.trim(status)
}

// causeNone is causeMissing of an emptyDir.
const causeNone = "it is in the manifest and does not exist"

// reap plans the waits for containers that ended, in the order of the manifest.
func (d *podDiffer) reap(status *schema.PodStatus) {
	ended := func(c schema.ContainerStatus) bool {
		return c.State == schema.ContainerExited && !d.goingContainers[c.Name]
	}
	if !slices.ContainsFunc(status.Containers, ended) {
		return
	}
	for _, c := range slices.Backward(d.inReverse(status)) {
		if ended(*c) {
			d.attempt(Action{Type: Wait, Kind: KindContainer, Pod: d.pod.Ref, Name: c.Name, Cause: ending(c), Spec: d.pod})
		}
	}
}

func findContainer(s *schema.PodStatus, name string) *schema.ContainerStatus {
	for i := range s.Containers {
		if s.Containers[i].Name == name {
			return &s.Containers[i]
		}
	}
	return nil
}

func findEmptyDir(s *schema.PodStatus, name string) *schema.EmptyDirStatus {
	for i := range s.EmptyDirs {
		if s.EmptyDirs[i].Name == name {
			return &s.EmptyDirs[i]
		}
	}
	return nil
}

// removeContainers plans the removals of containers, regular ones before init
// containers and each in reverse order of the manifest.
func (d *podDiffer) removeContainers(status *schema.PodStatus) {
	causes := make(map[string]string) // by name of the container that goes
	emptied := d.emptied(status)
	for i := range status.Containers {
		c := &status.Containers[i]
		if cause := d.removalCause(status, c); cause != "" {
			causes[c.Name] = cause
		} else if volume, ok := emptied[c.Name]; ok {
			causes[c.Name] = "what it prepared in emptyDir " + volume + " is lost"
		}
	}
	d.reinitialise(status, causes, emptied)
	if len(causes) == 0 {
		return
	}
	d.goingContainers = make(map[string]bool, len(causes))
	for _, c := range d.inReverse(status) {
		cause, ok := causes[c.Name]
		if !ok {
			continue
		}
		d.goingContainers[c.Name] = true
		d.attempt(Action{
			Type: Remove, Kind: KindContainer, Pod: d.pod.Ref, Name: c.Name, Cause: cause,
			Disruptive: c.State == schema.ContainerRunning,
			Replacing:  d.pod.Container(c.Name) != nil,
			Spec:       d.pod,
			Grace:      d.grace(),
		})
	}
}

// removalCause says why a container has to go, "" when it stays.
func (d *podDiffer) removalCause(status *schema.PodStatus, c *schema.ContainerStatus) string {
	want := d.pod.Container(c.Name)
	if want == nil {
		return "it is no longer in the manifest"
	}
	if want.Digest() != c.Digest {
		return containerChange(c.Spec, want)
	}
	if c.Init != d.isInit(c.Name) {
		return "it became another kind of container"
	}
	for _, m := range want.Mounts {
		e, old := d.pod.EmptyDir(m.Volume), findEmptyDir(status, m.Volume)
		if e != nil && old != nil && e.Digest() != old.Digest && c.State != schema.ContainerTerminated {
			return fmt.Sprintf("its emptyDir %s changes: %s", m.Volume, emptyDirChange(*old, e))
		}
	}
	return ""
}

func (d *podDiffer) isInit(name string) bool {
	return slices.ContainsFunc(d.pod.InitContainers, func(c schema.Container) bool { return c.Name == name })
}

// inReverse returns the containers in the order they are removed in: regular ones, then
// init containers, each the last of the manifest first; what is in no manifest goes first.
func (d *podDiffer) inReverse(status *schema.PodStatus) []*schema.ContainerStatus {
	order := make(map[string]int)
	for i := range d.pod.InitContainers {
		order[d.pod.InitContainers[i].Name] = i + 1
	}
	for i := range d.pod.Containers {
		order[d.pod.Containers[i].Name] = len(d.pod.InitContainers) + i + 1
	}
	place := func(c *schema.ContainerStatus) int {
		if n, ok := order[c.Name]; ok {
			return n
		}
		return len(order) + 1
	}
	list := make([]*schema.ContainerStatus, len(status.Containers))
	for i := range status.Containers {
		list[i] = &status.Containers[i]
	}
	slices.SortFunc(list, func(a, b *schema.ContainerStatus) int {
		if n := place(b) - place(a); n != 0 {
			return n
		}
		if a.Name < b.Name {
			return 1
		}
		return -1
	})
	return list
}

// removeEmptyDirs plans the removals of emptyDirs that nothing mounts any more.
func (d *podDiffer) removeEmptyDirs(status *schema.PodStatus) {
	if len(status.EmptyDirs) == 0 {
		return
	}
	d.goingEmptyDirs = make(map[string]bool)
	names := make([]string, 0, len(status.EmptyDirs))
	for _, e := range status.EmptyDirs {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		old, want := findEmptyDir(status, name), d.pod.EmptyDir(name)
		cause := "it is no longer in the manifest"
		if want != nil {
			if want.Digest() == old.Digest {
				continue
			}
			cause = emptyDirChange(*old, want)
		}
		d.goingEmptyDirs[name] = true
		if user := d.mountedBy(status, name); user != "" {
			d.wait(KindEmptyDir, name, "container "+user+" still mounts it", time.Time{})
			continue
		}
		d.attempt(Action{
			Type: Remove, Kind: KindEmptyDir, Pod: d.pod.Ref, Name: name, Cause: cause,
			Disruptive: true, Replacing: want != nil, Spec: d.pod,
		})
	}
}

// mountedBy returns a container that holds the emptyDir after this round's removals; one
// whose mounts cannot be told may hold any.
func (d *podDiffer) mountedBy(status *schema.PodStatus, volume string) string {
	for _, c := range d.inReverse(status) {
		if d.goingContainers[c.Name] && !d.stuck[c.Name] || c.State == schema.ContainerTerminated {
			continue
		}
		spec := c.Spec
		if want := d.pod.Container(c.Name); spec == nil && want != nil && want.Digest() == c.Digest {
			spec = want
		}
		if spec == nil || slices.ContainsFunc(spec.Mounts, func(m schema.VolumeMount) bool { return m.Volume == volume }) {
			return c.Name
		}
	}
	return ""
}
