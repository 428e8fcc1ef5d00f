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
//  3. Its machine is dead, or runs and was never told who it is: it is added again.
//  4. Its VM is of another size: it is removed, to be added in the next round.
//  5. Otherwise what is inside is made so (see inside).
//
// Within a pod the order is: remove, wait, add, trim.
func diffPod(pod *schema.Pod, status *schema.PodStatus, policy Policy, now time.Time) podPlan {
	d := podDiffer{pod: pod, status: status, policy: policy, now: now}
	switch {
	case status != nil && status.Machine == schema.MachineUnknown:
		d.wait(KindPod, pod.Name, "its machine neither answers nor is it proven dead: "+status.Message, time.Time{})
	case status == nil || status.Machine == schema.MachineAbsent:
		if d.try(KindPod, pod.Name, pod.VMDigest(), "it is in the manifest and does not run") {
			d.inside(&schema.PodStatus{Ref: pod.Ref, Failures: failures(status)})
		}
	case status.Machine == schema.MachineDead:
		d.try(KindPod, pod.Name, pod.VMDigest(), "its VM died"+because(status.Message))
	case !status.Configured:
		d.try(KindPod, pod.Name, pod.VMDigest(), "its VM runs and was not set up to the end")
	case status.VMDigest != pod.VMDigest():
		a := removePod(status, vmChange(status.Spec, pod), true)
		a.Grace = d.grace()
		d.actions = append(d.actions, a)
	default:
		d.inside(status)
	}
	return d.podPlan
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
}

func (d *podDiffer) grace() time.Duration {
	return time.Duration(d.pod.GraceSeconds) * time.Second
}

func (d *podDiffer) wait(kind Kind, name, reason string, until time.Time) {
	d.pending = append(d.pending, Pending{Pod: d.pod.Ref, Kind: kind, Name: name, Reason: reason, Until: until})
}

// try plans an add, unless one of the same spec failed and its back-off is not over.
func (d *podDiffer) try(kind Kind, name, digest, cause string) bool {
	if f, ok := failureOf(d.status, kind, name, digest); ok {
		if at := retryAt(f); d.now.Before(at) {
			d.wait(kind, name, fmt.Sprintf("%s (failed %d times: %s)", f.Reason, f.Attempts, f.Message), at)
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
//     what it prepared no longer holds.
//  2. EmptyDirs that changed or went are removed, once no container mounts them.
//  3. Containers that ended are waited for (reaped).
//  4. EmptyDirs are added.
//  5. Init containers are added one after the other, each when the one before has ended well.
//  6. Containers are added, all at once, when all init containers have ended well.
//  7. A pod with nothing to do may be trimmed.
func (d *podDiffer) inside(status *schema.PodStatus) {
	d.removeContainers(status)
	d.removeEmptyDirs(status)
	for i := range status.Containers {
		c := &status.Containers[i]
		if c.State == schema.ContainerExited && !d.goingContainers[c.Name] {
			d.actions = append(d.actions, Action{
				Type: Wait, Kind: KindContainer, Pod: d.pod.Ref, Name: c.Name, Cause: ending(c), Spec: d.pod,
			})
		}
	}
	for i := range d.pod.EmptyDirs {
		e := &d.pod.EmptyDirs[i]
		if findEmptyDir(status, e.Name) == nil && !d.goingEmptyDirs[e.Name] {
			d.try(KindEmptyDir, e.Name, e.Digest(), "it is in the manifest and does not exist")
		}
	}
	if d.addInitContainers(status) {
		d.addContainers(status)
	}
	d.trim(status)
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
	for i := range status.Containers {
		c := &status.Containers[i]
		if cause := d.removalCause(status, c); cause != "" {
			causes[c.Name] = cause
		}
	}
	d.reinitialise(status, causes)
	d.goingContainers = make(map[string]bool, len(causes))
	for _, c := range d.inReverse(status) {
		cause, ok := causes[c.Name]
		if !ok {
			continue
		}
		d.goingContainers[c.Name] = true
		d.actions = append(d.actions, Action{
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

// reinitialise adds to causes what has to run again because an init container changed or
// is new: every init container after it, and all regular containers.
func (d *podDiffer) reinitialise(status *schema.PodStatus, causes map[string]string) {
	first := ""
	for i := range d.pod.InitContainers {
		name := d.pod.InitContainers[i].Name
		s := findContainer(status, name)
		if _, changed := causes[name]; (s == nil || changed) && first == "" {
			first = name
			continue
		}
		if first != "" && s != nil && causes[name] == "" {
			causes[name] = "it comes after init container " + first + ", which changed"
		}
	}
	if first == "" {
		return
	}
	for i := range status.Containers {
		c := &status.Containers[i]
		if !c.Init && causes[c.Name] == "" {
			causes[c.Name] = "init container " + first + " changed and has to run first"
		}
	}
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
		d.actions = append(d.actions, Action{
			Type: Remove, Kind: KindEmptyDir, Pod: d.pod.Ref, Name: name, Cause: cause,
			Disruptive: true, Replacing: want != nil, Spec: d.pod,
		})
	}
}

// mountedBy returns a container that holds the emptyDir after this round's removals.
func (d *podDiffer) mountedBy(status *schema.PodStatus, volume string) string {
	for i := range status.Containers {
		c := &status.Containers[i]
		if d.goingContainers[c.Name] || c.State == schema.ContainerTerminated || c.Spec == nil {
			continue
		}
		if slices.ContainsFunc(c.Spec.Mounts, func(m schema.VolumeMount) bool { return m.Volume == volume }) {
			return c.Name
		}
	}
	return ""
}

// addInitContainers plans the next init container; it says whether all have ended well.
func (d *podDiffer) addInitContainers(status *schema.PodStatus) bool {
	for i := range d.pod.InitContainers {
		c := &d.pod.InitContainers[i]
		s := findContainer(status, c.Name)
		switch {
		case d.goingContainers[c.Name]:
			return false
		case s == nil:
			d.addContainer(c, "it is in the manifest and does not run")
			return false
		case s.State == schema.ContainerTerminated && s.ExitCode == 0:
			continue
		case s.State == schema.ContainerTerminated && d.pod.RestartPolicy == schema.RestartNever:
			return false // the pod has failed
		case s.State == schema.ContainerTerminated:
			d.restart(c, s)
			return false
		default:
			if s.State != schema.ContainerExited {
				d.wait(KindContainer, c.Name, "the init container has not ended yet", time.Time{})
			}
			return false
		}
	}
	return true
}

// addContainers plans all regular containers that do not run and should.
func (d *podDiffer) addContainers(status *schema.PodStatus) {
	for i := range d.pod.Containers {
		c := &d.pod.Containers[i]
		s := findContainer(status, c.Name)
		switch {
		case d.goingContainers[c.Name]:
		case s == nil:
			d.addContainer(c, "it is in the manifest and does not run")
		case s.State == schema.ContainerTerminated && restarts(d.pod.RestartPolicy, s.ExitCode):
			d.restart(c, s)
		}
	}
}

// restarts tells whether a regular container that ended is started again.
func restarts(policy schema.RestartPolicy, exitCode int) bool {
	return policy == schema.RestartAlways || policy == schema.RestartOnFailure && exitCode != 0
}

// restart plans the next run of a container that ended, after its back-off.
func (d *podDiffer) restart(c *schema.Container, s *schema.ContainerStatus) {
	if at := restartAt(s); d.now.Before(at) {
		d.wait(KindContainer, c.Name, "back-off: "+ending(s), at)
		return
	}
	d.addContainer(c, fmt.Sprintf("%s; restartPolicy is %s", ending(s), d.pod.RestartPolicy))
}

// addContainer plans a start, unless a volume of the container is on its way out.
func (d *podDiffer) addContainer(c *schema.Container, cause string) {
	for _, m := range c.Mounts {
		if d.goingEmptyDirs[m.Volume] {
			d.wait(KindContainer, c.Name, "its emptyDir "+m.Volume+" is being replaced", time.Time{})
			return
		}
	}
	d.try(KindContainer, c.Name, c.Digest(), cause)
}

// A trim is worth it when the host file holds this much more than the file system in
// it uses, and a fifth of it; and not more often than every ten minutes.
const (
	trimWorth    = 64 << 20
	trimFraction = 5
	trimEvery    = 10 * time.Minute
)

// trim plans a trim of a pod that has nothing else to do.
func (d *podDiffer) trim(status *schema.PodStatus) {
	store := status.Store
	free := store.HostBytes - store.UsedBytes
	if len(d.actions) > 0 || d.policy.NoTrim || free < trimWorth || free < store.HostBytes/trimFraction {
		return
	}
	if _, failed := failureOf(status, KindPod, d.pod.Name, d.pod.VMDigest()); failed {
		return
	}
	if due := store.TrimmedAt.Add(trimEvery); d.now.Before(due) {
		return
	}
	d.actions = append(d.actions, Action{
		Type: Trim, Kind: KindPod, Pod: d.pod.Ref, Name: d.pod.Name, Spec: d.pod,
		Cause: fmt.Sprintf("about %d MiB of its store on the host are free inside", free>>20),
	})
}
