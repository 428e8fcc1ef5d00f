package reconcile

import (
	"fmt"
	"slices"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Volumes are emptyDirs and others; a pod has one of a name. What follows holds for both
// unless it says otherwise.

func emptyDirNames(s *schema.PodStatus) []string {
	names := make([]string, 0, len(s.EmptyDirs))
	for i := range s.EmptyDirs {
		names = append(names, s.EmptyDirs[i].Name)
	}
	slices.Sort(names)
	return names
}

func volumeNames(s *schema.PodStatus) []string {
	names := make([]string, 0, len(s.Volumes))
	for i := range s.Volumes {
		names = append(names, s.Volumes[i].Name)
	}
	slices.Sort(names)
	return names
}

// volumeWord names a volume as the pod declares it.
func (d *podDiffer) volumeWord(name string) string {
	if d.pod.EmptyDir(name) != nil {
		return "emptyDir " + name
	}
	return "volume " + name
}

// inPlace tells whether a volume that was seen becomes the wanted one without being removed.
func inPlace(seen *schema.VolumeStatus, want *schema.Volume) bool {
	return want.Files != nil && seen.Spec != nil && seen.Spec.Files != nil
}

// findReplacements works out which volumes have to be replaced by others of their name, and
// why; see replaced. One that cannot be replaced now is noted as held, and stays.
func (d *podDiffer) findReplacements() {
	for i := range d.pod.EmptyDirs {
		e := &d.pod.EmptyDirs[i]
		seen := findEmptyDir(d.status, e.Name)
		switch {
		case seen != nil && seen.Digest != e.Digest():
			d.replace(KindEmptyDir, e.Name, emptyDirChange(*seen, e), nil)
		case seen == nil && findVolume(d.status, e.Name) != nil:
			d.replace(KindVolume, e.Name, "it became an emptyDir", nil)
		}
	}
	for i := range d.pod.Volumes {
		w := &d.pod.Volumes[i]
		seen := findVolume(d.status, w.Name)
		switch {
		case seen != nil && !inPlace(seen, w) && seen.Digest != w.Digest():
			d.replace(KindVolume, w.Name, volumeChange(seen.Spec, w), lacksOf(w))
		case seen == nil && findEmptyDir(d.status, w.Name) != nil:
			d.replace(KindEmptyDir, w.Name, "it is no emptyDir any more", lacksOf(w))
		}
	}
}

// replace notes that a volume has to be replaced, unless it or a container that mounts it
// could not be made again.
func (d *podDiffer) replace(kind Kind, name, cause string, lacking []string) {
	if len(lacking) > 0 {
		d.holdVolume(kind, name, fmt.Sprintf("not replaced (%s): %s", cause, waitsFor(lacking)))
		return
	}
	for i := range d.status.Containers {
		s := &d.status.Containers[i]
		c := d.pod.Container(s.Name)
		if c == nil || s.State == schema.ContainerTerminated || !mounts(c, name) {
			continue
		}
		if words := d.lacks(c); len(words) > 0 {
			d.holdVolume(kind, name, fmt.Sprintf("not replaced (%s): container %s, which mounts it, %s", cause, c.Name, waitsFor(words)))
			return
		}
	}
	if d.replaced == nil {
		d.replaced = make(map[string]string)
	}
	d.replaced[name] = cause
}

// holdVolume leaves a volume as it is.
func (d *podDiffer) holdVolume(kind Kind, name, reason string) {
	if d.heldVolumes == nil {
		d.heldVolumes = make(map[string]bool)
	}
	d.heldVolumes[name] = true
	d.lacking(kind, name, reason)
}

func mounts(c *schema.Container, volume string) bool {
	return slices.ContainsFunc(c.Mounts, func(m schema.VolumeMount) bool { return m.Volume == volume })
}

// removeVolumes plans the removals of volumes that are replaced or no longer wanted, once
// nothing mounts them any more.
func (d *podDiffer) removeVolumes() {
	names := emptyDirNames(d.status)
	for _, name := range slices.Backward(names) {
		d.removeVolume(KindEmptyDir, name, d.pod.EmptyDir(name) != nil)
	}
	names = volumeNames(d.status)
	for _, name := range slices.Backward(names) {
		d.removeVolume(KindVolume, name, d.pod.Volume(name) != nil)
	}
}

func (d *podDiffer) removeVolume(kind Kind, name string, wanted bool) {
	cause, replaced := d.replaced[name]
	switch {
	case d.heldVolumes[name], wanted && !replaced:
		return
	case !replaced:
		cause = "it is no longer in the manifest"
	}
	if d.goingVolumes == nil {
		d.goingVolumes = make(map[string]bool)
	}
	d.goingVolumes[name] = true
	if user := d.mountedBy(name); user != "" {
		d.wait(kind, name, "container "+user+" still mounts it", time.Time{})
		return
	}
	d.attempt(Action{
		Type: Remove, Kind: kind, Pod: d.pod.Ref, Name: name, Cause: cause,
		Disruptive: kind == KindEmptyDir || ephemeral(d.status, name), Replacing: wanted, Spec: d.pod,
	})
}

// ephemeral tells whether a volume that was seen loses its content when it is removed.
func ephemeral(s *schema.PodStatus, name string) bool {
	seen := findVolume(s, name)
	return seen != nil && seen.Spec != nil && seen.Spec.Claim != nil && seen.Spec.Claim.Name == ""
}

// mountedBy returns a container that holds the volume after this round's removals; one
// whose mounts cannot be told may hold any.
func (d *podDiffer) mountedBy(volume string) string {
	for _, c := range d.inReverse() {
		if d.goingContainers[c.Name] && !d.stuck[c.Name] || c.State == schema.ContainerTerminated {
			continue
		}
		spec := c.Spec
		if want := d.pod.Container(c.Name); spec == nil && want != nil && d.digest(want) == c.Digest {
			spec = want
		}
		if spec == nil || mounts(spec, volume) {
			return c.Name
		}
	}
	return ""
}

// addVolumes plans the volumes that are not there and those whose files change in place.
func (d *podDiffer) addVolumes() {
	for i := range d.pod.EmptyDirs {
		e := &d.pod.EmptyDirs[i]
		if findEmptyDir(d.status, e.Name) == nil && !d.goingVolumes[e.Name] && !d.heldVolumes[e.Name] {
			d.adds(e.Name, d.try(KindEmptyDir, e.Name, e.Digest(), causeNone))
		}
	}
	for i := range d.pod.Volumes {
		w := &d.pod.Volumes[i]
		if d.goingVolumes[w.Name] || d.heldVolumes[w.Name] {
			continue
		}
		seen := findVolume(d.status, w.Name)
		cause, prefix := causeNone, ""
		if seen != nil {
			if !inPlace(seen, w) || seen.Digest == w.Digest() {
				continue
			}
			cause, prefix = filesChange(seen.Spec.Files, w.Files), "not changed: "
		}
		if words := lacksOf(w); len(words) > 0 {
			d.lacking(KindVolume, w.Name, prefix+waitsFor(words))
			continue
		}
		d.adds(w.Name, d.try(KindVolume, w.Name, w.Digest(), cause))
	}
}

// adds notes a volume that is made in this round.
func (d *podDiffer) adds(name string, planned bool) {
	if !planned {
		return
	}
	if d.adding == nil {
		d.adding = make(map[string]bool)
	}
	d.adding[name] = true
}

// unmade returns a volume of the container that is not there when the container would be
// added, with the reason; "" when all are.
func (d *podDiffer) unmade(c *schema.Container) string {
	for _, m := range c.Mounts {
		isDir, isOther := d.pod.EmptyDir(m.Volume) != nil, d.pod.Volume(m.Volume) != nil
		switch {
		case d.goingVolumes[m.Volume]:
			return "its " + d.volumeWord(m.Volume) + " is being replaced"
		case d.adding[m.Volume], d.heldVolumes[m.Volume], !isDir && !isOther:
		case isDir && findEmptyDir(d.status, m.Volume) == nil, isOther && findVolume(d.status, m.Volume) == nil:
			return "its " + d.volumeWord(m.Volume) + " could not be made yet"
		}
	}
	return ""
}
