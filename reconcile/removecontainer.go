package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// removeContainers plans the removals of containers, regular ones before init
// containers and each in reverse order of the manifest.
func (d *podDiffer) removeContainers(f fate) {
	causes := make(map[string]string) // by name of the container that goes
	emptied := d.emptied()
	for i := range d.status.Containers {
		c := &d.status.Containers[i]
		want := d.pod.Container(c.Name)
		cause := d.removalCause(c, want)
		if volume, ok := emptied[c.Name]; ok && cause == "" {
			cause = "what it prepared in " + d.volumeWord(volume) + " is lost"
		}
		if cause == "" {
			continue
		}
		if want != nil {
			if words := d.lacks(want); len(words) > 0 {
				d.lacking(KindContainer, c.Name, fmt.Sprintf("not replaced (%s): %s", cause, waitsFor(words)))
				d.holdInit(c.Name, emptied)
				continue
			}
		}
		causes[c.Name] = cause
	}
	d.reinitialise(causes, emptied)
	d.endSidecars(f, causes)
	if len(causes) == 0 {
		return
	}
	d.goingContainers = make(map[string]bool, len(causes))
	for _, c := range d.inReverse() {
		if cause, ok := causes[c.Name]; ok {
			d.goingContainers[c.Name] = true
			a := d.removal(c, cause)
			a.Replacing = a.Replacing && !d.over
			d.attempt(a)
		}
	}
}

// removal is the removal of a container, which is replaced when the pod has it still.
func (d *podDiffer) removal(c *schema.ContainerStatus, cause string) Action {
	return Action{
		Type: Remove, Kind: KindContainer, Pod: d.pod.Ref, Name: c.Name, Cause: cause,
		Disruptive: c.State == schema.ContainerRunning,
		Replacing:  d.pod.Container(c.Name) != nil,
		Spec:       d.pod,
		Grace:      d.grace(),
	}
}

// removalCause says why a container has to go, "" when it stays.
func (d *podDiffer) removalCause(c *schema.ContainerStatus, want *schema.Container) string {
	switch {
	case want == nil:
		return "it is no longer in the manifest"
	case d.digest(want) != c.Digest:
		return containerChange(c.Spec, want)
	case c.Init != d.isInit(c.Name):
		return "it became another kind of container"
	case c.State == schema.ContainerTerminated || len(d.replaced) == 0:
		return ""
	}
	for _, m := range want.Mounts {
		if cause, ok := d.replaced[m.Volume]; ok {
			return fmt.Sprintf("its %s changes: %s", d.volumeWord(m.Volume), cause)
		}
	}
	return ""
}

// endSidecars adds to causes the sidecars that run in a pod that has ended, unless
// something of it is going to run again.
func (d *podDiffer) endSidecars(f fate, causes map[string]string) {
	if f.kind != fateSucceeded && f.kind != fateFailed {
		return
	}
	for name := range causes {
		if c := d.pod.Container(name); c != nil && !c.Sidecar {
			return
		}
	}
	d.over = true
	cause := "all containers of the pod have ended"
	if f.kind == fateFailed && d.isInit(f.sick.Name) {
		cause = "the pod has failed: init " + messageOf(f.sick)
	}
	for i := range d.pod.InitContainers {
		c := &d.pod.InitContainers[i]
		if s := findContainer(d.status, c.Name); c.Sidecar && s != nil && !hasEnded(s) && causes[c.Name] == "" {
			causes[c.Name] = cause
		}
	}
}

// inReverse returns the containers in the order they are removed in: regular ones, then
// init containers, each the last of the manifest first; what is in no manifest goes first.
func (d *podDiffer) inReverse() []*schema.ContainerStatus {
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
	list := make([]*schema.ContainerStatus, len(d.status.Containers))
	for i := range d.status.Containers {
		list[i] = &d.status.Containers[i]
	}
	slices.SortFunc(list, func(a, b *schema.ContainerStatus) int {
		return cmp.Or(place(b)-place(a), strings.Compare(b.Name, a.Name))
	})
	return list
}
