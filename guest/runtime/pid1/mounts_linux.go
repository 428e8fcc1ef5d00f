package pid1

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

// mounts are what every Linux system has.
func mounts() []mount {
	return []mount{
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0755"},
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	}
}

// Mount mounts the system's file systems and moves the root off the initramfs.
func Mount() error {
	if err := leaveRootfs(); err != nil {
		return err
	}
	for _, m := range mounts() {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return fmt.Errorf("make mount point: %w", err)
		}
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

// leaveRootfs makes a bind mount of the initramfs the root. The kernel's rootfs
// itself cannot be pivoted away from, which containers have to do; a mount on top of it can.
func leaveRootfs() error {
	const newRoot = "/newroot"
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return fmt.Errorf("leave initramfs: %w", err)
	}
	if err := unix.Mount("/", newRoot, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("leave initramfs: bind: %w", err)
	}
	if err := unix.Chdir(newRoot); err != nil {
		return fmt.Errorf("leave initramfs: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("leave initramfs: move: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("leave initramfs: chroot: %w", err)
	}
	return os.Chdir("/")
}

// setting is one line to write to a file of the kernel.
type setting struct{ file, value string }

// settings: PID 1 is the last one to be killed for want of memory; process ids do
// not come back soon; as in other container systems, no privilege is needed to
// serve port 80 or to ping, and there are no user namespaces, in which anyone
// would have every capability.
func settings() []setting {
	return []setting{
		{"/proc/self/oom_score_adj", "-997"},
		{"/proc/sys/kernel/pid_max", "4194304"},
		{"/proc/sys/user/max_user_namespaces", "0"},
		{"/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"},
		{"/proc/sys/net/ipv4/ping_group_range", "0 2147483647"},
	}
}

// Tune sets what the kernel's defaults do not.
func Tune() error {
	var errs []error
	for _, s := range settings() {
		if err := os.WriteFile(s.file, []byte(s.value), 0); err != nil {
			errs = append(errs, fmt.Errorf("tune kernel: %w", err))
		}
	}
	return errors.Join(append(errs, loopbackUp())...)
}

// loopbackUp brings up lo, which is all the network a pod has by itself.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // a socket used for its ioctls only
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	return nil
}
