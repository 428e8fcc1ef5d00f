package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// KillOrphans ends every QEMU that carries the machine's UUID. The caller has proven
// that no shim holds the machine, so such a QEMU belongs to nobody, nor does its cgroup. The process is
// pinned by a pidfd before it is looked at, so that a reused pid cannot be hit.
func KillOrphans(machineID string) error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if !isMachine(dir, machineID) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if err := killIf(pid, func() bool { return isMachine(dir, machineID) }); err != nil {
			return fmt.Errorf("end left-over qemu %d of machine %s: %w", pid, machineID, err)
		}
	}
	_ = removeGroup(machineID) // one that stays is empty, and swept later
	return nil
}

// isMachine tells whether a process is a QEMU with that UUID.
func isMachine(dir, machineID string) bool {
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil || argument(string(cmdline), "-uuid") != machineID {
		return false
	}
	exe, err := os.Readlink(filepath.Join(dir, "exe"))
	return err == nil && strings.HasPrefix(filepath.Base(exe), "qemu-system-")
}

// killIf kills a process and waits for its end, provided that it still is the one meant.
func killIf(pid int, meant func() bool) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !meant() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	const limit = 5000 // ms; a process in the kernel's hands can take a moment
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, limit)
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("it does not die")
	}
	return nil
}
