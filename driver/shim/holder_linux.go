package shim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// killHolder kills the shim of a machine that no longer answers. It is the process
// that has the machine's lock open and says so in its arguments, seen so again
// through a pidfd, so that a reused pid is never hit. None is fine.
func killHolder(dir string) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || !isHolder(pid, dir) {
			continue
		}
		if err := killIf(pid, func() bool { return isHolder(pid, dir) }); err != nil {
			return err
		}
	}
	return nil
}

// killIf kills a process if it is still the right one once it cannot be mistaken.
func killIf(pid int, right func() bool) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	} else if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if !right() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return nil
}

// lostHolders returns the directories of machines in parent that have a live shim and are
// gone: it is about to put them back.
func lostHolders(parent string) ([]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var lost []string
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		dir := heldDir(pid)
		if filepath.Dir(dir) == parent && !exists(dir) && isHolder(pid, dir) {
			lost = append(lost, dir)
		}
	}
	return lost, nil
}

// heldDir is the machine's directory that a process names in its arguments, "" if none.
func heldDir(pid int) string {
	cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return ""
	}
	args := bytes.Split(cmdline, []byte{0})
	at := slices.IndexFunc(args, func(a []byte) bool { return string(a) == "--dir" })
	if at < 0 || at+1 >= len(args) {
		return ""
	}
	return string(args[at+1])
}

func isHolder(pid int, dir string) bool {
	if heldDir(pid) != dir {
		return false
	}
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	fds, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(fds, func(fd os.DirEntry) bool {
		target, err := os.Readlink(filepath.Join(proc, "fd", fd.Name()))
		return err == nil && strings.TrimSuffix(target, " (deleted)") == filepath.Join(dir, lockFile)
	})
}
