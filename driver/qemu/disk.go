package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// diskBus is the HBA that all disks hang off; a virtio-scsi disk can be plugged in and
// out while the machine runs.
const diskBus = "scsi"

// maxDiskID is the longest serial number QEMU takes for a SCSI disk.
const maxDiskID = 20

// AttachDisk implements driver.VM.
func (v *vm) AttachDisk(ctx context.Context, d driver.Disk) error {
	if err := checkDiskID(d.ID); err != nil {
		return err
	}
	v.disksMu.Lock()
	defer v.disksMu.Unlock()
	if _, ok := v.disks[d.ID]; ok {
		return nil
	}
	set, err := v.plug(ctx, d)
	if err != nil {
		return fmt.Errorf("attach disk %s: %w", d.ID, err)
	}
	v.disks[d.ID] = set
	return nil
}

func checkDiskID(id string) error {
	if id == "" || len(id) > maxDiskID || strings.Trim(strings.ToLower(id), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("attach disk %q: an id is 1 to %d characters of [A-Za-z0-9-]", id, maxDiskID)
	}
	return nil
}

// plug hands the disk over and makes it appear in the guest; it returns the fd set that
// keeps the file open in QEMU. What fails half-way is undone.
func (v *vm) plug(ctx context.Context, d driver.Disk) (set int, err error) {
	flag := os.O_RDWR
	if d.ReadOnly {
		flag = os.O_RDONLY
	}
	file, err := os.OpenFile(d.Path, flag, 0)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var added struct {
		Set int `json:"fdset-id"`
	}
	if err := v.monitor.runWithFile(ctx, "add-fd", nil, &added, file); err != nil {
		return 0, err
	}
	undo := context.WithoutCancel(ctx)
	if err := v.monitor.run(ctx, "blockdev-add", blockdev(d, added.Set), nil); err != nil {
		return 0, errors.Join(err, v.removeSet(undo, added.Set))
	}
	if err := v.monitor.run(ctx, "device_add", scsiDisk(d), nil); err != nil {
		return 0, errors.Join(err, v.removeNode(undo, d.ID), v.removeSet(undo, added.Set))
	}
	return added.Set, nil
}

// blockdev describes the file of a disk to QEMU.
func blockdev(d driver.Disk, set int) map[string]any {
	file := map[string]any{"driver": "file", "filename": fmt.Sprintf("/dev/fdset/%d", set)}
	node := map[string]any{"driver": "raw", "node-name": nodeName(d.ID), "file": file}
	if d.ReadOnly {
		node["read-only"] = true
		file["read-only"] = true
	} else {
		// Both levels must pass discards on for the host file to shrink.
		node["discard"] = "unmap"
		file["discard"] = "unmap"
	}
	return node
}

// scsiDisk describes the disk that the guest sees. The guest finds it by its serial.
func scsiDisk(d driver.Disk) map[string]any {
	return map[string]any{
		"driver": "scsi-hd",
		"id":     deviceName(d.ID),
		"bus":    diskBus + ".0",
		"drive":  nodeName(d.ID),
		"serial": d.ID,
	}
}

func nodeName(id string) string   { return "node-" + id }
func deviceName(id string) string { return "disk-" + id }

// DetachDisk implements driver.VM.
func (v *vm) DetachDisk(ctx context.Context, id string) error {
	v.disksMu.Lock()
	defer v.disksMu.Unlock()
	set, ok := v.disks[id]
	if !ok {
		return nil
	}
	gone := v.await(deviceName(id))
	defer v.forget(deviceName(id))
	if err := v.monitor.run(ctx, "device_del", map[string]any{"id": deviceName(id)}, nil); err != nil {
		return fmt.Errorf("detach disk %s: %w", id, err)
	}
	select {
	case <-gone:
	case <-v.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("detach disk %s: the guest does not let go of it: %w", id, context.Cause(ctx))
	}
	delete(v.disks, id)
	if err := errors.Join(v.removeNode(ctx, id), v.removeSet(ctx, set)); err != nil {
		return fmt.Errorf("detach disk %s: %w", id, err)
	}
	return nil
}

func (v *vm) removeNode(ctx context.Context, id string) error {
	return v.monitor.run(ctx, "blockdev-del", map[string]any{"node-name": nodeName(id)}, nil)
}

func (v *vm) removeSet(ctx context.Context, set int) error {
	return v.monitor.run(ctx, "remove-fd", map[string]any{"fdset-id": set}, nil)
}
