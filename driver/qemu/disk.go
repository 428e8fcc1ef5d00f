package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// diskBus is the HBA that all disks hang off; a virtio-scsi disk can be plugged in and
// out while the machine runs.
const diskBus = "scsi"

// maxDiskID is the longest serial number QEMU takes for a SCSI disk.
const maxDiskID = 20

// undoTimeout bounds taking back a disk whose attaching failed; what is left is taken up
// by the next attach or detach.
const undoTimeout = 10 * time.Second

// attachment is what QEMU holds of a disk. Detaching takes it back step by step, and can
// be taken up again after a step that failed.
type attachment struct {
	driver.Disk
	set    int  // the fd set that keeps the file open
	device bool // the guest has (or may have) the disk
	node   bool // the block layer has (or may have) it
}

// AttachDisk implements driver.VM.
func (v *vm) AttachDisk(ctx context.Context, d driver.Disk) error {
	if err := checkDiskID(d.ID); err != nil {
		return err
	}
	v.disksMu.Lock()
	defer v.disksMu.Unlock()
	if old, ok := v.disks[d.ID]; ok {
		switch {
		case old.device && old.Disk == d:
			return nil
		case old.device:
			return fmt.Errorf("attach disk %s: the machine has another by this id: %s", d.ID, old.Path)
		}
		if err := v.unplug(ctx, old); err != nil { // a detach got half-way
			return fmt.Errorf("attach disk %s: %w", d.ID, err)
		}
	}
	if err := v.plug(ctx, d); err != nil {
		return fmt.Errorf("attach disk %s: %w", d.ID, err)
	}
	return nil
}

func checkDiskID(id string) error {
	if id == "" || len(id) > maxDiskID || strings.Trim(strings.ToLower(id), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("attach disk %q: an id is 1 to %d characters of [A-Za-z0-9-]", id, maxDiskID)
	}
	return nil
}

// plug hands the disk over and makes it appear in the guest. What fails half-way is undone.
func (v *vm) plug(ctx context.Context, d driver.Disk) error {
	flag := os.O_RDWR
	if d.ReadOnly {
		flag = os.O_RDONLY
	}
	file, err := os.OpenFile(d.Path, flag, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if !d.ReadOnly {
		if err := v.process.allow(file); err != nil {
			return err
		}
	}
	v.lastSet++
	a := &attachment{Disk: d, set: v.lastSet}
	v.disks[d.ID] = a
	if err := v.plugSteps(ctx, a, file); err != nil {
		// A failed step counts as not taken, an unanswered one as taken.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		return errors.Join(err, v.unplug(undo, a))
	}
	return nil
}

func (v *vm) plugSteps(ctx context.Context, a *attachment, file *os.File) error {
	if err := v.monitor.runWithFile(ctx, "add-fd", map[string]any{"fdset-id": a.set}, nil, file); err != nil {
		return err
	}
	err := v.monitor.run(ctx, "blockdev-add", blockdev(a.Disk, a.set), nil)
	a.node = !isRefusal(err)
	if err != nil {
		return err
	}
	err = v.monitor.run(ctx, "device_add", scsiDisk(a.Disk), nil)
	a.device = !isRefusal(err)
	return err
}

// isRefusal tells an error by which QEMU said no from one that leaves open what it did.
func isRefusal(err error) bool {
	_, ok := errors.AsType[*CommandError](err)
	return ok
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
	a, ok := v.disks[id]
	if !ok {
		return nil
	}
	if err := v.unplug(ctx, a); err != nil {
		return fmt.Errorf("detach disk %s: %w", id, err)
	}
	return nil
}

// unplug takes back what QEMU holds of a disk and forgets it.
func (v *vm) unplug(ctx context.Context, a *attachment) error {
	if a.device {
		if err := v.unplugDevice(ctx, a.ID); err != nil {
			return err
		}
		a.device = false
	}
	if a.node {
		if err := v.removeNode(ctx, a.ID); err != nil {
			return err
		}
		a.node = false
	}
	if err := v.monitor.run(ctx, "remove-fd", map[string]any{"fdset-id": a.set}, nil); err != nil && !isRefusal(err) {
		return err
	}
	delete(v.disks, a.ID)
	return nil
}

// removeNode takes a disk out of the block layer; one that is not there is fine.
func (v *vm) removeNode(ctx context.Context, id string) error {
	err := v.monitor.run(ctx, "blockdev-del", map[string]any{"node-name": nodeName(id)}, nil)
	if !isRefusal(err) {
		return err
	}
	// QEMU's refusals have no class that would tell "in use" from "not there".
	var nodes []struct {
		Name string `json:"node-name"`
	}
	if err := v.monitor.run(ctx, "query-named-block-nodes", map[string]any{"flat": true}, &nodes); err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Name == nodeName(id) {
			return err
		}
	}
	return nil
}

// deviceNotFound is the class of QEMU's refusal when there is no such device.
const deviceNotFound = "DeviceNotFound"

// unplugDevice returns once the guest's disk is gone; one that is not there is fine.
func (v *vm) unplugDevice(ctx context.Context, id string) error {
	gone := v.await(deviceName(id))
	defer v.forget(deviceName(id))
	err := v.monitor.run(ctx, "device_del", map[string]any{"id": deviceName(id)}, nil)
	if refusal, ok := errors.AsType[*CommandError](err); ok && refusal.Class == deviceNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	select {
	case <-gone:
		return nil
	case <-v.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the guest does not let go of it: %w", context.Cause(ctx))
	}
}
