package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// disksDir is where disks with volumes are mounted that can be written to.
const disksDir = "/run/firkin/disks"

// volumeDisk is a writable disk that is mounted.
type volumeDisk struct {
	path  string
	users int
}

// useDisk mounts a disk, once for all volumes on it, and returns where, and how to end
// this use. One that is read-only at the device is shared with the containers that have
// it as their root.
func (r *Runtime) useDisk(ctx context.Context, disk string) (path string, readOnly bool, drop func(context.Context) error, err error) {
	if !pathSafe(disk) {
		return "", false, nil, fmt.Errorf("disk %q: name is not safe in a path", disk)
	}
	streamed, err := r.isStreamed(disk)
	if err != nil {
		return "", false, nil, err
	}
	if streamed {
		path, err := r.useTemplate(ctx, disk)
		return path, true, func(context.Context) error { return r.dropTemplate(disk) }, err
	}
	device, err := waitDisk(ctx, disk)
	if err != nil {
		return "", false, nil, err
	}
	flag, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "ro"))
	if err != nil {
		return "", false, nil, fmt.Errorf("disk %s: %w", disk, err)
	}
	if strings.TrimSpace(string(flag)) != "0" {
		path, err := r.useTemplate(ctx, disk)
		return path, true, func(context.Context) error { return r.dropTemplate(disk) }, err
	}
	path, err = r.mountDisk(disk, device)
	return path, false, func(ctx context.Context) error { return r.dropDisk(ctx, disk) }, err
}

// mountDisk mounts a writable disk or counts one more use of it.
func (r *Runtime) mountDisk(disk, device string) (string, error) {
	r.disksMu.Lock()
	defer r.disksMu.Unlock()
	if d, ok := r.disks[disk]; ok {
		d.users++
		return d.path, nil
	}
	path := filepath.Join(disksDir, disk)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", fmt.Errorf("disk %s: %w", disk, err)
	}
	if err := unix.Mount(device, path, "ext4", unix.MS_NODEV, "nodiscard,errors=remount-ro"); err != nil {
		return "", errors.Join(fmt.Errorf("disk %s: mount %s: %w", disk, device, err), os.Remove(path))
	}
	if err := fitDisk(path, device); err != nil {
		r.log.Error(err, "the volume keeps its size", "disk", disk)
	}
	// Programs that want an empty directory for their data take offence at it.
	_ = unix.Rmdir(filepath.Join(path, lostFound))
	r.disks[disk] = &volumeDisk{path: path, users: 1}
	return path, nil
}

// lostFound is what mkfs puts into every file system.
const lostFound = "lost+found"

// dropDisk ends one use; with the last the disk is unmounted, so that all is on it and
// the host can take it away.
func (r *Runtime) dropDisk(ctx context.Context, disk string) error {
	r.disksMu.Lock()
	defer r.disksMu.Unlock()
	d, ok := r.disks[disk]
	if !ok {
		return nil
	}
	if d.users > 1 {
		d.users--
		return nil
	}
	if err := unmountSync(ctx, d.path); err != nil {
		return fmt.Errorf("disk %s: %w", disk, err)
	}
	delete(r.disks, disk)
	return nil
}

// unmountSync writes all of a file system out and unmounts it from path, which is
// removed. It waits a little for users that are just going.
func unmountSync(ctx context.Context, path string) error {
	if mounted, err := isMount(path); err != nil || !mounted {
		return err
	}
	syncErr := syncMount(path)
	ctx, cancel := context.WithTimeoutCause(ctx, unmountWait, unix.EBUSY)
	defer cancel()
	err := poll(ctx, unmountPoll, func() (bool, error) {
		err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return errors.Join(fmt.Errorf("unmount %s: %w", path, err), syncErr)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("remove mount point: %w", err), syncErr)
	}
	return syncErr
}

// trimDisks gives the free blocks of all writable disks back to the host.
func (r *Runtime) trimDisks() error {
	r.disksMu.Lock()
	defer r.disksMu.Unlock()
	var err error
	for _, d := range r.disks {
		trimErr := syncMount(d.path)
		if trimErr == nil {
			_, trimErr = trimMount(d.path)
		}
		err = errors.Join(err, trimErr)
	}
	return err
}

// syncMount writes out all of the file system at path.
func syncMount(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	if err := errors.Join(unix.Syncfs(int(f.Fd())), f.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// ext4Resize is EXT4_IOC_RESIZE_FS of linux/ext4.h, _IOW('f', 16, __u64), for which the
// number is the same on amd64 and arm64.
const ext4Resize = 0x40086610

// fitDisk makes a mounted ext4 as large as its disk, when that has grown.
func fitDisk(path, device string) error {
	dev, err := os.Open(device)
	if err != nil {
		return fmt.Errorf("grow %s: %w", path, err)
	}
	defer func() { _ = dev.Close() }() // only asked
	size, err := dev.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("grow %s: %w", path, err)
	}
	root, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("grow %s: %w", path, err)
	}
	defer func() { _ = root.Close() }() // a directory
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(root.Fd()), &st); err != nil {
		return fmt.Errorf("grow %s: %w", path, err)
	}
	// The file system counts its own tables out, so that this asks more often than is
	// needed; the kernel does nothing when the size is what it was.
	blocks := uint64(size) / uint64(st.Bsize)
	if blocks <= st.Blocks {
		return nil
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, root.Fd(), ext4Resize, uintptr(unsafe.Pointer(&blocks))); errno != 0 {
		return fmt.Errorf("grow %s to %d bytes: %w", path, size, errno)
	}
	return nil
}
