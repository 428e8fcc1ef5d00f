package pid1

import (
	"errors"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// nobody is a user and group that images do not have: the kernel's pause image is run as it.
const nobody = 65535

// emptyRoot is where Isolate mounts the directory that it makes the root.
const emptyRoot = "/run"

// Isolate takes from the calling process what others in its process namespace could
// reach through it: it sees an empty directory, has no privilege, and nobody can look
// into it. It must have a mount namespace of its own.
func Isolate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("isolate: make mounts private: %w", err)
	}
	flags := uintptr(unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("empty", emptyRoot, "tmpfs", flags, "mode=0555,size=4k"); err != nil {
		return fmt.Errorf("isolate: mount empty directory: %w", err)
	}
	if err := os.Chdir(emptyRoot); err != nil {
		return fmt.Errorf("isolate: %w", err)
	}
	// The old root lands on top of the new one, and goes from there.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("isolate: change root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("isolate: unmount old root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("isolate: %w", err)
	}
	// In this order, each needing what the next one gives up; for all threads.
	if err := errors.Join(unix.Setgroups(nil), unix.Setgid(nobody), unix.Setuid(nobody)); err != nil {
		return fmt.Errorf("isolate: give up privileges: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("isolate: %w", err)
	}
	return nil
}

// IgnoreSignals keeps signals that others send from ending the calling process. The first
// process of a namespace is safe only from those it has no handler for, and Go has one for
// nearly each. What the process does wrong itself still ends it, and processes that it
// starts get the defaults again.
func IgnoreSignals() {
	// Nobody reads it: what comes is dropped.
	signal.Notify(make(chan os.Signal, 1),
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE, unix.SIGUSR1,
		unix.SIGSEGV, unix.SIGUSR2, unix.SIGPIPE, unix.SIGALRM, unix.SIGTERM, unix.SIGSTKFLT, unix.SIGXCPU, unix.SIGXFSZ,
		unix.SIGVTALRM, unix.SIGPROF, unix.SIGIO, unix.SIGPWR, unix.SIGSYS)
}
