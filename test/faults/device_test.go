//go:build linux

package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"
)

// volume is an ext4 file system of a test's own, in a file behind a loop device, that can
// be broken.
type volume struct {
	file, dir string
	mounted   bool
}

// newVolume makes a file system of so many MiB and mounts it on dir, which is made. It is
// unmounted when the test ends.
func (h *host) newVolume(t *testing.T, dir string, mib int) *volume {
	t.Helper()
	if _, err := os.Stat("/dev/loop-control"); err != nil || os.Geteuid() != 0 {
		t.Skip("only root can mount, and only where there are loop devices")
	}
	v := &volume{file: filepath.Join(h.dir, filepath.Base(dir)+".volume"), dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", v.file, fmt.Sprintf("%dM", mib)).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	v.mount(t)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if v.mounted {
			v.detach(t)
		}
	})
	return v
}

// mount mounts it, which mends what a cut left: the journal is replayed.
func (v *volume) mount(t testing.TB, options ...string) {
	t.Helper()
	with := strings.Join(append(options, "loop"), ",")
	if out, err := exec.Command("mount", "-t", "ext4", "-o", with, v.file, v.dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	v.mounted = true
}

// unmount ends it for good, once nothing uses it any more.
func (v *volume) unmount(t testing.TB) {
	t.Helper()
	within(t, converges, "nothing uses the volume", func() bool {
		err := syscall.Unmount(v.dir, 0)
		if err != nil && !errors.Is(err, syscall.EBUSY) {
			t.Fatal(err)
		}
		return err == nil
	})
	v.mounted = false
}

// detach takes it away from under whoever uses it.
func (v *volume) detach(t testing.TB) {
	t.Helper()
	if err := syscall.Unmount(v.dir, syscall.MNT_DETACH); err != nil {
		t.Error(err)
	}
	v.mounted = false
}

// shutdownNow and withoutLog are EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32), and the flag by
// which not even the journal is written.
const (
	shutdownNow = 0x8004587d
	withoutLog  = 2
)

// die has every access to the file system fail with EIO from now on. What was not on the
// disk never gets there: mounted anew, it is what a power cut would have left.
func (v *volume) die(t testing.TB) {
	t.Helper()
	dir, err := os.Open(v.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	flags := uint32(withoutLog)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, dir.Fd(), shutdownNow, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		t.Fatalf("shut the file system down: %v", errno)
	}
}

// cut has every read of the volume that is not cached fail with EIO, as a disk with bad
// sectors does, until mend. It is to be mounted read-only.
func (v *volume) cut(t testing.TB) (mend func()) {
	t.Helper()
	whole, err := os.ReadFile(v.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(v.file, 0); err != nil {
		t.Fatal(err)
	}
	return func() {
		file, err := os.OpenFile(v.file, os.O_WRONLY, 0)
		if err == nil {
			_, err = file.Write(whole)
			err = errors.Join(err, file.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// hold copies a file into the volume, with its owner and modes.
func (v *volume) hold(t testing.TB, path string) {
	t.Helper()
	if out, err := exec.Command("cp", "--archive", "--sparse=always", path, v.dir).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
}

// over has the volume's file of the same name appear in place of a file; the returned
// function, or the end of the test, takes it away.
func (v *volume) over(t *testing.T, path string) (away func()) {
	t.Helper()
	if err := syscall.Mount(filepath.Join(v.dir, filepath.Base(path)), path, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	away = sync.OnceFunc(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(away)
	return away
}
