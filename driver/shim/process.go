package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"
)

// lockFD is the environment variable that tells a shim which inherited descriptor
// is its machine's lock, already held.
const lockFD = "FIRKIN_SHIM_LOCK_FD"

// A shim is idle nearly always and there are as many as there are pods: it trades
// CPU for memory. The limit is soft and far above what one needs: 2048 connections through
// its network take 100 MiB.
const (
	gcPercent   = 25
	memoryLimit = 192 << 20
)

// prepareProcess makes the process fit to live for long: private files, no core file, no
// directory held busy, little memory.
func prepareProcess() error {
	unix.Umask(0o077)
	// A core file would hold what the guest has in memory, secrets among it. The VMM
	// inherits the limit and cannot raise it again.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("prepare process: forbid core files: %w", err)
	}
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	protect()
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("prepare process: %w", err)
	}
	return nil
}

// inheritedLock returns the machine's lock when the parent handed it over, else nil.
func inheritedLock(dir string) (*os.File, error) {
	value, ok := os.LookupEnv(lockFD)
	if !ok {
		return nil, nil
	}
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("inherit lock: %s=%q is not a descriptor", lockFD, value)
	}
	unix.CloseOnExec(fd) // a VMM must not keep the lock beyond the shim
	if err := os.Unsetenv(lockFD); err != nil {
		return nil, fmt.Errorf("inherit lock: %w", err)
	}
	f := os.NewFile(uintptr(fd), lockFile)
	if !sameFile(f, filepath.Join(dir, lockFile)) {
		f.Close()
		return nil, errors.New("inherit lock: the descriptor is not this machine's lock")
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("inherit lock: %w", err)
	}
	return f, nil
}
