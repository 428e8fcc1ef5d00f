//go:build linux

package security

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checkLimits: the host holds every VMM within limits that it cannot raise (S15).
func checkLimits(t *testing.T, vms []vm) {
	for _, m := range vms {
		for _, pid := range []int{m.qemu, m.shim} {
			if soft, hard := limitOf(t, pid, "Max core file size"); soft != "0" || hard != "0" {
				t.Errorf("process %d may leave core files: %s, %s", pid, soft, hard)
			}
		}
		if soft, hard := limitOf(t, m.qemu, "Max open files"); soft != "4096" || hard != "4096" {
			t.Errorf("qemu %d may open %s, %s files", m.qemu, soft, hard)
		}
		for _, name := range []string{"Max address space", "Max file size", "Max processes"} {
			soft, hard := limitOf(t, m.qemu, name)
			t.Logf("qemu %d: %s %s", m.qemu, name, soft)
			if soft != hard || soft == "unlimited" || soft == hostLimit(t, name) {
				t.Errorf("qemu %d: %s is %s, %s", m.qemu, name, soft, hard)
			}
		}
		checkGroup(t, m)
	}
}

// checkGroup: where the host gives cgroups, a VMM has one of its own, with limits.
func checkGroup(t *testing.T, m vm) {
	_, path, _ := strings.Cut(proc(t, m.qemu, "cgroup"), "0::")
	path, _, _ = strings.Cut(path, "\n")
	if filepath.Base(path) != filepath.Base(m.dir) {
		t.Logf("qemu %d has no cgroup of its own: %s", m.qemu, path)
		return
	}
	for _, file := range []string{"memory.max", "pids.max", "cpu.max"} {
		b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", path, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a controller that the host does not have
		}
		if err != nil || strings.HasPrefix(string(b), "max") {
			t.Errorf("qemu %d: %s is %q, %v", m.qemu, file, b, err)
		}
	}
}

// hostLimit is that of this very process.
func hostLimit(t *testing.T, name string) string {
	t.Helper()
	soft, _ := limitOf(t, os.Getpid(), name)
	return soft
}

// limitOf is the soft and the hard limit of a process.
func limitOf(t *testing.T, pid int, name string) (soft, hard string) {
	t.Helper()
	for line := range strings.Lines(proc(t, pid, "limits")) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			words := strings.Fields(rest)
			return words[0], words[1]
		}
	}
	t.Fatalf("process %d: no limit %q", pid, name)
	return "", ""
}
