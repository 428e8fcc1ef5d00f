package volume

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The bytes of an image that QEMU locks while it has it open: RAW_LOCK_PERM_BASE and
// RAW_LOCK_SHARED_BASE of its block/file-posix.c, with one byte for each permission.
const (
	qemuLockStart = 100
	qemuLockBytes = 200
)

// inUse tells whether a machine has the image. It disturbs nobody: no lock is taken.
func inUse(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // only asked
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: qemuLockStart, Len: qemuLockBytes}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return false, fmt.Errorf("ask for locks of %s: %w", path, err)
	}
	return lock.Type != unix.F_UNLCK, nil
}
