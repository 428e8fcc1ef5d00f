package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// A Job's pod that failed is tried again, up to backoffLimit times:
//
//   - with restartPolicy OnFailure its containers restart by themselves, and the failed
//     runs of all of them count together;
//   - with Never the pod is tried again as a whole, as the new pod that Kubernetes would
//     make: all containers, the emptyDirs and ephemeral volumes are removed and made anew,
//     in the same VM.
//
// Runs are counted by what the VM remembers of them, which survives removals of containers
// and restarts of the reconciler; those of an older spec do not count.

// failedRuns counts the failed runs of a container under its present spec. The guest keeps
// the last MaxRuns; when all of those have failed, every start counts.
func failedRuns(s *schema.ContainerStatus) int {
	n := 0
	for _, r := range s.Runs {
		if r.Digest == s.Digest && r.ExitCode != 0 {
			n++
		}
	}
	if n >= schema.MaxRuns {
		n = max(n, s.RestartCount+1)
	}
	if n == 0 && hasEnded(s) && s.ExitCode != 0 {
		return 1
	}
	return n
}

// failures counts how often the containers that a Job depends on have failed: each failure
// of an init container, and those of regular containers, which run side by side, by sum
// where each restarts by itself and by the worst where all are tried again together.
func (v *view) failures() int {
	n, worst := 0, 0
	for i := range v.pod.InitContainers {
		if c := &v.pod.InitContainers[i]; !c.Sidecar {
			if s := v.current(c); s != nil {
				n += failedRuns(s)
			}
		}
	}
	for i := range v.pod.Containers {
		s := v.current(&v.pod.Containers[i])
		switch {
		case s == nil:
		case v.pod.RestartPolicy == schema.RestartNever:
			worst = max(worst, failedRuns(s))
		default:
			n += failedRuns(s)
		}
	}
	return n + worst
}

// sick is the last container, sidecars apart, that ended badly, nil when none did.
func (v *view) sick() (sick *schema.ContainerStatus) {
	for _, list := range [][]schema.Container{v.pod.InitContainers, v.pod.Containers} {
		for i := range list {
			if s := v.current(&list[i]); s != nil && !list[i].Sidecar && hasEnded(s) && s.ExitCode != 0 {
				sick = s
			}
		}
	}
	return sick
}

// exhausted tells whether a Job's pod whose containers restart has failed too often.
func (v *view) exhausted() bool {
	return v.pod.Job != nil && v.pod.RestartPolicy == schema.RestartOnFailure &&
		v.sick() != nil && v.failures() > v.pod.Job.BackoffLimit
}

// failedTry returns the container that failed in a pod that is to be tried again as a
// whole; nil when it is not, or something of this try still runs.
func (v *view) failedTry() *schema.ContainerStatus {
	if v.pod.Job == nil || v.pod.RestartPolicy != schema.RestartNever {
		return nil
	}
	sick := v.sick()
	if sick == nil || v.failures() > v.pod.Job.BackoffLimit {
		return nil
	}
	for i := range v.status.Containers {
		s := &v.status.Containers[i]
		c := v.pod.Container(s.Name)
		if (c == nil || !c.Sidecar) && !hasEnded(s) {
			return nil
		}
	}
	return sick
}

// tryWords say which try of a Job's pod comes next, and why.
func (v *view) tryWords(sick *schema.ContainerStatus) string {
	return fmt.Sprintf("try %d of %d in Job %s: %s", v.failures()+1, v.pod.Job.BackoffLimit+1, v.pod.Job.Name, messageOf(sick))
}

// nextTry clears a failed pod of a Job away, once it is reaped and its back-off is over, to
// be started anew in the next round. What failed goes last: as long as it is there, the rest
// is still to go.
func (d *podDiffer) nextTry(sick *schema.ContainerStatus) {
	if slices.ContainsFunc(d.status.Containers, func(s schema.ContainerStatus) bool { return s.State == schema.ContainerExited }) {
		d.reap()
		return
	}
	isSick := func(s *schema.ContainerStatus) bool {
		c := d.pod.Container(s.Name)
		return c != nil && !c.Sidecar && s.ExitCode != 0 && s.Digest == d.digest(c)
	}
	var due time.Time
	list := d.inReverse()
	for _, s := range list {
		if at := restartAt(s); isSick(s) && at.After(due) && !d.ahead(s.FinishedAt, restartMost) {
			due = at
		}
	}
	cause := d.tryWords(sick)
	if !d.reached(due) {
		d.wait(KindPod, d.pod.Name, "back-off: "+cause, due)
		return
	}
	if d.tryLacks(cause) {
		return
	}
	slices.SortStableFunc(list, func(a, b *schema.ContainerStatus) int {
		return cmp.Compare(order(isSick(a)), order(isSick(b)))
	})
	for i, s := range list {
		if isSick(s) && (i == 0 || !isSick(list[i-1])) && !d.clearVolumes(cause) {
			return
		}
		if !d.attempt(d.removal(s, cause)) {
			return
		}
	}
}

// tryLacks tells whether the next try of a pod has to wait because a container could not be
// started in it.
func (d *podDiffer) tryLacks(cause string) bool {
	for _, list := range [][]schema.Container{d.pod.InitContainers, d.pod.Containers} {
		for i := range list {
			if words := d.lacks(&list[i]); len(words) > 0 {
				d.lacking(KindPod, d.pod.Name, fmt.Sprintf("%s; container %s %s", cause, list[i].Name, waitsFor(words)))
				return true
			}
		}
	}
	return false
}

// order is 0 for false and 1 for true.
func order(b bool) int {
	if b {
		return 1
	}
	return 0
}

// clearVolumes plans the removals of what lives as long as a pod; false when one has to wait.
func (d *podDiffer) clearVolumes(cause string) bool {
	remove := func(kind Kind, name string, wanted bool) bool {
		return d.attempt(Action{
			Type: Remove, Kind: kind, Pod: d.pod.Ref, Name: name, Cause: cause,
			Disruptive: true, Replacing: wanted, Spec: d.pod,
		})
	}
	for _, name := range emptyDirNames(d.status) {
		if !remove(KindEmptyDir, name, d.pod.EmptyDir(name) != nil) {
			return false
		}
	}
	for _, name := range volumeNames(d.status) {
		w := d.pod.Volume(name)
		if w != nil && w.Claim != nil && w.Claim.Name == "" && !remove(KindVolume, name, true) {
			return false
		}
	}
	return true
}

// jobKey names a Job of a source.
type jobKey struct{ source, namespace, name string }

// turns returns the pods of Jobs that have to wait for others to end, with the reason: of
// each Job as many may be under way as its parallelism says. Those that have a machine
// are; the others come in the order of their numbers.
func turns(pods []*schema.Pod, statuses []*schema.PodStatus, now time.Time) map[schema.Ref]string {
	if !slices.ContainsFunc(pods, func(p *schema.Pod) bool { return p.Job != nil }) {
		return nil
	}
	underWay := make(map[jobKey]int)
	count := func(pod *schema.Pod, s *schema.PodStatus) {
		if !AssessAt(pod, s, now).Final {
			underWay[jobKey{pod.Source, pod.Namespace, pod.Job.Name}]++
		}
	}
	var fresh []*schema.Pod
	for p, s := range paired(pods, statuses) {
		switch there := s != nil && exists(s); {
		case p == nil && there && s.Spec != nil && s.Spec.Job != nil:
			count(s.Spec, s)
		case p == nil || p.Job == nil:
		case there:
			count(p, s)
		default:
			fresh = append(fresh, p)
		}
	}
	// NAME-2 comes before NAME-10.
	slices.SortStableFunc(fresh, func(a, b *schema.Pod) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), strings.Compare(a.Name, b.Name))
	})
	waiting := make(map[schema.Ref]string)
	for _, p := range fresh {
		key := jobKey{p.Source, p.Namespace, p.Job.Name}
		if n := underWay[key]; n >= max(p.Job.Parallelism, 1) {
			waiting[p.Ref] = fmt.Sprintf("waits for its turn in Job %s (%d of its pods at a time)", p.Job.Name, max(p.Job.Parallelism, 1))
			continue
		}
		underWay[key]++
	}
	return waiting
}
