package reconcile

import (
	"slices"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// reinitialise adds to causes what has to run again because an init container changed or
// is new or has to run again: every init container after it, and all regular containers.
// Those that are done for good stay when only an emptyDir was lost.
func (d *podDiffer) reinitialise(status *schema.PodStatus, causes map[string]string, emptied map[string]string) {
	first := ""
	lost := false // the volume's contents are the only reason
	for i := range d.pod.InitContainers {
		name := d.pod.InitContainers[i].Name
		s := findContainer(status, name)
		if _, changed := causes[name]; (s == nil || changed) && first == "" {
			first = name
			_, isEmptied := emptied[name]
			lost = s != nil && isEmptied && s.Digest == d.pod.InitContainers[i].Digest()
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
		if !c.Init && causes[c.Name] == "" && (!lost || !d.done(c)) {
			causes[c.Name] = "init container " + first + " changed and has to run first"
		}
	}
}

// emptied returns the init containers that ended well and whose emptyDir is another one
// now, or none: what they prepared there is lost, and has to be prepared again before a
// container starts. It is by name, with the emptyDir. Nothing is when no container is
// going to run on it.
//
// An emptyDir in memory is lost with its VM, and the agent makes it anew, empty, in the next
// one. That this happened shows in containers that ended by it. It does not show when all
// containers were between two runs as the VM died; they start on an empty emptyDir then.
func (d *podDiffer) emptied(status *schema.PodStatus) map[string]string {
	if len(d.pod.InitContainers) == 0 || len(d.pod.EmptyDirs) == 0 || !d.needed(status) {
		return nil
	}
	died := slices.ContainsFunc(status.Containers, func(c schema.ContainerStatus) bool {
		return !c.Init && c.State != schema.ContainerRunning && c.Reason == schema.ReasonMachineDied
	})
	found := make(map[string]string)
	for i := range d.pod.InitContainers {
		c := &d.pod.InitContainers[i]
		s := findContainer(status, c.Name)
		if s == nil || s.State != schema.ContainerTerminated || s.ExitCode != 0 {
			continue
		}
		for _, m := range c.Mounts {
			e, old := d.pod.EmptyDir(m.Volume), findEmptyDir(status, m.Volume)
			if e != nil && (old == nil || e.Digest() != old.Digest || died && e.Medium == schema.MediumMemory) {
				found[c.Name] = m.Volume
				break
			}
		}
	}
	return found
}

// needed tells whether a regular container runs or is going to.
func (d *podDiffer) needed(status *schema.PodStatus) bool {
	return slices.ContainsFunc(d.pod.Containers, func(c schema.Container) bool {
		s := findContainer(status, c.Name)
		return s == nil || !d.done(s) || s.Digest != c.Digest()
	})
}

// done tells whether a container ended and is not started again.
func (d *podDiffer) done(s *schema.ContainerStatus) bool {
	return (s.State == schema.ContainerTerminated || s.State == schema.ContainerExited) && !restarts(d.pod.RestartPolicy, s.ExitCode)
}
