package reconcile

import (
	"fmt"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// addInitContainers plans the next init container; it says whether all have ended well.
func (d *podDiffer) addInitContainers(status *schema.PodStatus) bool {
	for i := range d.pod.InitContainers {
		c := &d.pod.InitContainers[i]
		s := findContainer(status, c.Name)
		switch {
		case d.goingContainers[c.Name]:
			return false
		case s == nil:
			d.addContainer(c, causeMissing)
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
			d.addContainer(c, causeMissing)
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
	if at := restartAt(s); d.now.Before(at) && !ahead(s.FinishedAt, d.now, restartMost) {
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
