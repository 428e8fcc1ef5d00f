package reconcile

import (
	"fmt"
	"slices"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// reinitialise adds to causes what has to run again because an init container changed or
// is new or has to run again: every init container after it, and all regular containers.
// Those that are done for good stay when only an emptyDir was lost. A sidecar prepares
// nothing, so that its change is its own. Where something runs that could not be started
// again, the init container waits.
func (d *podDiffer) reinitialise(causes map[string]string, emptied map[string]string) {
	for i := range d.pod.InitContainers {
		c := &d.pod.InitContainers[i]
		s := findContainer(d.status, c.Name)
		if c.Sidecar || s == nil && len(d.lacks(c)) > 0 || s != nil && causes[c.Name] == "" {
			continue
		}
		_, isEmptied := emptied[c.Name]
		taken := d.after(i, s != nil && isEmptied && s.Digest == d.digest(c))
		if d.heldBack(c, s, taken, causes) {
			d.holdInit(c.Name, emptied)
			continue
		}
		for _, s := range taken {
			if causes[s.Name] != "" {
				continue
			}
			causes[s.Name] = "init container " + c.Name + " changed and has to run first"
			if s.Init {
				causes[s.Name] = "it comes after init container " + c.Name + ", which changed"
			}
		}
		return
	}
}

// after returns what was seen of the containers that come after the i-th init container.
// lost: the contents of a volume are the only reason to run it again.
func (d *podDiffer) after(i int, lost bool) (list []*schema.ContainerStatus) {
	for _, c := range d.pod.InitContainers[i+1:] {
		if s := findContainer(d.status, c.Name); s != nil {
			list = append(list, s)
		}
	}
	for j := range d.pod.Containers {
		c := &d.pod.Containers[j]
		if s := findContainer(d.status, c.Name); s != nil && (!lost || !d.done(c, s)) {
			list = append(list, s)
		}
	}
	return list
}

// heldBack tells whether something runs after the init container that could not be started
// again; the init container does not run again then.
func (d *podDiffer) heldBack(c *schema.Container, s *schema.ContainerStatus, taken []*schema.ContainerStatus, causes map[string]string) bool {
	for _, t := range taken {
		if hasEnded(t) {
			continue
		}
		words := d.lacks(d.pod.Container(t.Name))
		if len(words) == 0 {
			continue
		}
		what := "not added"
		if s != nil {
			what = fmt.Sprintf("not replaced (%s)", causes[c.Name])
		}
		d.lacking(KindContainer, c.Name, fmt.Sprintf("%s: container %s, which comes after it, %s", what, t.Name, waitsFor(words)))
		delete(causes, c.Name)
		return true
	}
	return false
}

// holdInit keeps what comes after an init container from starting, if that has to run
// before them and cannot: it never ran, or what it prepared is lost.
func (d *podDiffer) holdInit(name string, emptied map[string]string) {
	if _, isEmptied := emptied[name]; !isEmptied && findContainer(d.status, name) != nil {
		return
	}
	if d.heldInits == nil {
		d.heldInits = make(map[string]bool)
	}
	d.heldInits[name] = true
}

// emptied returns the init containers that ended well and whose emptyDir (or ephemeral
// volume) is another one now, or none: what they prepared there is lost, and has to be
// prepared again before a container starts. It is by name, with the volume. Nothing is
// when no container is going to run on it.
//
// An emptyDir in memory is lost with its VM, and the agent makes it anew, empty, in the next
// one. That this happened shows in containers that ended by it. It does not show when all
// containers were between two runs as the VM died; they start on an empty emptyDir then.
func (d *podDiffer) emptied() map[string]string {
	if len(d.pod.InitContainers) == 0 || len(d.pod.EmptyDirs)+len(d.pod.Volumes) == 0 || !d.needed() {
		return nil
	}
	died := time.Time{} // of the last VM, as far as it shows
	for _, c := range d.status.Containers {
		if !c.Init && c.State != schema.ContainerRunning && c.Reason == schema.ReasonMachineDied && c.FinishedAt.After(died) {
			died = c.FinishedAt
		}
	}
	found := make(map[string]string)
	for i := range d.pod.InitContainers {
		c := &d.pod.InitContainers[i]
		s := findContainer(d.status, c.Name)
		if s == nil || c.Sidecar || s.State != schema.ContainerTerminated || s.ExitCode != 0 {
			continue
		}
		for _, m := range c.Mounts {
			if d.isEmptied(m.Volume, s.StartedAt.Before(died)) {
				found[c.Name] = m.Volume
				break
			}
		}
	}
	return found
}

// isEmptied tells whether the content of a volume is lost, now or in this round; died: the
// VM died since it was made.
func (d *podDiffer) isEmptied(name string, died bool) bool {
	if d.heldVolumes[name] {
		return false
	}
	_, replaced := d.replaced[name]
	if e := d.pod.EmptyDir(name); e != nil {
		return replaced || findEmptyDir(d.status, name) == nil || died && e.Medium == schema.MediumMemory
	}
	w := d.pod.Volume(name)
	if w == nil || w.Claim == nil || w.Claim.Name != "" {
		return false
	}
	return replaced || findVolume(d.status, name) == nil
}

// needed tells whether a regular container runs or is going to.
func (d *podDiffer) needed() bool {
	return slices.ContainsFunc(d.pod.Containers, func(c schema.Container) bool {
		s := d.current(&c)
		return s == nil || !d.done(&c, s)
	})
}
