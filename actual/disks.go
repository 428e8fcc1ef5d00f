package actual

import (
	"context"
	"fmt"
	"time"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// diskOfContainer is the disk that a container's root file system is on, "" for none.
func (o *Observer) diskOfContainer(m *machine, name string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range m.pod.GetContainers() {
		if c.GetName() == name {
			return c.GetRootfsDisk()
		}
	}
	return ""
}

// diskOfVolume is the disk that a volume is on, and the image of it that goes when the
// volume does; both are "" for none.
func (o *Observer) diskOfVolume(m *machine, name string) (disk, image string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := volumeState(m.pod, name)
	if spec := decode[schema.Volume](v.GetManifest()); spec != nil && spec.Claim != nil && spec.Claim.Name == "" {
		image = ephemeralImage(m.info, name)
	}
	return v.GetDisk(), image
}

func volumeState(pod *agentpb.PodState, name string) *agentpb.VolumeState {
	for _, v := range pod.GetVolumes() {
		if v.GetName() == name {
			return v
		}
	}
	return nil
}

// attach and detach are the machine's own, within callTimeout: they ask its holder, which may hang.
func (m *machine) attach(ctx context.Context, disk driver.Disk) error {
	ctx, cancel := limit(ctx, callTimeout)
	defer cancel()
	return m.handle.AttachDisk(ctx, disk)
}

func (m *machine) detach(ctx context.Context, disk string) error {
	ctx, cancel := limit(ctx, callTimeout)
	defer cancel()
	return m.handle.DetachDisk(ctx, disk)
}

// diskUsed tells whether anything in the pod is on the disk.
func (o *Observer) diskUsed(m *machine, disk string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range m.pod.GetContainers() {
		if c.GetRootfsDisk() == disk {
			return true
		}
	}
	for _, v := range m.pod.GetVolumes() {
		if v.GetDisk() == disk {
			return true
		}
	}
	return false
}

// letGo detaches a disk that nothing in the pod is on any more. It is best effort: a
// template left attached costs a little memory, and a claim is refused to other pods
// until this one is gone.
func (o *Observer) letGo(ctx context.Context, m *machine, disk string) {
	if disk == "" || o.diskUsed(m, disk) {
		return
	}
	// gofail: var diskDetaching struct{}
	if err := m.detach(ctx, disk); err != nil {
		o.mu.Lock()
		name := m.info.Spec.Name
		o.mu.Unlock()
		o.log.Info("a disk that is no longer used stays attached", "pod", name, "disk", disk, "cause", err.Error())
	}
}

// letGoLeft detaches the disk of a container that was replaced, once its successor was added or could not be, unless
// that is on it: mostly both are of the same image. So it does with those of containers that the manifest no longer has.
func (o *Observer) letGoLeft(ctx context.Context, m *machine, a reconcile.Action, on string, clock *stopwatch) {
	var disks []string
	o.mu.Lock()
	for name, disk := range m.left {
		if name != a.Name && a.Spec.Container(name) != nil {
			continue
		}
		delete(m.left, name)
		if disk != on {
			disks = append(disks, disk)
		}
	}
	o.mu.Unlock()
	for _, disk := range disks {
		began := time.Now()
		o.letGo(ctx, m, disk)
		clock.add("detach", time.Since(began))
	}
}

// takeBack detaches a disk that nothing in the pod is on, and that is to be made anew or to
// grow: who removed the volume that was on it may have died before letting go of it, and
// the machine would go on with the disk as it was. One that it does not have is fine.
func (o *Observer) takeBack(ctx context.Context, m *machine, disk string) error {
	if o.diskUsed(m, disk) {
		return nil
	}
	if err := m.detach(ctx, disk); err != nil {
		return fmt.Errorf("take back the disk: %w", err)
	}
	return nil
}
