package reconcile

import (
	"fmt"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// addInitContainers plans the next init container; it says whether all have ended well or,
// being sidecars, have started. A container that has not run yet waits for those before it;
// one that has run restarts whatever became of the sidecars.
func (d *podDiffer) addInitContainers() bool {
	started := true // all sidecars so far
	for i := range d.pod.InitContainers {
		c := &d.pod.InitContainers[i]
		s := findContainer(d.status, c.Name)
		if c.Sidecar {
			started = d.addSidecar(c, s, started) && started
			continue
		}
		switch {
		case d.goingContainers[c.Name], d.heldInits[c.Name], s == nil && !started:
			return false
		case s == nil:
			d.addContainer(c, causeMissing)
			return false
		case s.State == schema.ContainerTerminated && s.ExitCode == 0:
			continue
		case s.State == schema.ContainerTerminated:
			if d.restarts(c, s) { // else the pod has failed
				d.restart(c, s)
			}
			return false
		default:
			if s.State != schema.ContainerExited {
				d.wait(KindContainer, c.Name, "the init container has not ended yet", time.Time{})
			}
			return false
		}
	}
	d.unstarted = !started
	return true
}

// addSidecar plans a start of a sidecar, unless the pod has ended; it says whether the
// sidecar has started. before: those before it have.
func (d *podDiffer) addSidecar(c *schema.Container, s *schema.ContainerStatus, before bool) bool {
	switch {
	case d.over, d.goingContainers[c.Name]:
	case s == nil && before:
		d.addContainer(c, causeMissing)
	case s == nil, s.State == schema.ContainerExited:
	case s.State == schema.ContainerTerminated:
		d.restart(c, s)
	case isStarted(c, s):
		return true
	default:
		d.wait(KindContainer, c.Name, "the sidecar "+notStarted(s), time.Time{})
	}
	return false
}

// addContainers plans all regular containers that do not run and should.
func (d *podDiffer) addContainers() {
	for i := range d.pod.Containers {
		c := &d.pod.Containers[i]
		s := findContainer(d.status, c.Name)
		switch {
		case d.goingContainers[c.Name]:
		case s == nil && !d.unstarted:
			d.addContainer(c, causeMissing)
		case s != nil && s.State == schema.ContainerTerminated && d.restarts(c, s):
			d.restart(c, s)
		}
	}
}

// restart plans the next run of a container that ended, after its back-off.
func (d *podDiffer) restart(c *schema.Container, s *schema.ContainerStatus) {
	if at := restartAt(s); !d.reached(at) && !d.ahead(s.FinishedAt, restartMost) {
		d.wait(KindContainer, c.Name, "back-off: "+ending(s), at)
		return
	}
	policy := d.pod.RestartPolicy
	if c.Sidecar {
		policy = schema.RestartAlways
	}
	cause := fmt.Sprintf("%s; restartPolicy is %s", ending(s), policy)
	if job := d.pod.Job; job != nil && !c.Sidecar && policy == schema.RestartOnFailure {
		cause += fmt.Sprintf(", try %d of %d in Job %s", d.failures()+1, job.BackoffLimit+1, job.Name)
	}
	d.addContainer(c, cause)
}

// addContainer plans a start, unless a volume of the container is not there or something
// that it needs is missing.
func (d *podDiffer) addContainer(c *schema.Container, cause string) {
	words := d.lacks(c)
	if len(words) > 0 {
		d.lacking(KindContainer, c.Name, waitsFor(words))
		return
	}
	if reason := d.unmade(c); reason != "" {
		d.wait(KindContainer, c.Name, reason, time.Time{})
		return
	}
	d.try(KindContainer, c.Name, d.digest(c), cause)
}
