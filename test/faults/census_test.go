//go:build linux

package faults

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// process is a process of a machine.
type process struct {
	pid int
	// id is the machine's.
	id string
}

func (p process) String() string { return fmt.Sprintf("%d of %s", p.pid, p.id) }

// arguments returns the program and the arguments of a process, nil when it is gone.
func arguments(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(data) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}

// option returns the value after an option.
func option(args []string, name string) string {
	if at := slices.Index(args, name); at >= 0 && at+1 < len(args) {
		return args[at+1]
	}
	return ""
}

func everyPID() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// shims are the holders of machines below this state directory: O1 asks /proc, not us.
func (h *host) shims() []process {
	var list []process
	for _, pid := range everyPID() {
		dir := option(arguments(pid), "--dir")
		if filepath.Dir(dir) == filepath.Join(h.state, "machines") {
			list = append(list, process{pid, filepath.Base(dir)})
		}
	}
	return list
}

// qemus are the VMMs of machines that were ever seen here, or that have a file of ours open.
func (h *host) qemus() []process {
	var list []process
	for _, pid := range everyPID() {
		args := arguments(pid)
		if len(args) == 0 || !strings.HasPrefix(filepath.Base(args[0]), "qemu-system-") {
			continue
		}
		id := option(args, "-uuid")
		if h.ids[id] || h.opened(pid) {
			list = append(list, process{pid, id})
		}
	}
	return list
}

// opened tells whether a process has a file below the state directory open.
func (h *host) opened(pid int) bool {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	return slices.ContainsFunc(files, func(f string) bool {
		target, err := os.Readlink(f)
		return err == nil && strings.HasPrefix(target, h.state+"/")
	})
}

// remember notes the machines there are.
func (h *host) remember() {
	entries, _ := os.ReadDir(filepath.Join(h.state, "machines"))
	for _, e := range entries {
		if uuid.Validate(e.Name()) == nil {
			h.ids[e.Name()] = true
		}
	}
	for _, p := range h.shims() {
		h.ids[p.id] = true
	}
}

// of returns the processes of one machine.
func of(list []process, id string) []int {
	var pids []int
	for _, p := range list {
		if p.id == id {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// census is what a host uses beside its running machines.
type census struct {
	mounts, loops int
	sockets       []string
	files         []string
}

// count takes the census (O3). Images, caches and journals may grow and are left out.
func (h *host) count() census {
	var c census
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	c.mounts = bytes.Count(mounts, []byte(h.dir))
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		if text, err := os.ReadFile(l); err == nil && bytes.HasPrefix(text, []byte(h.dir)) {
			c.loops++
		}
	}
	_ = filepath.WalkDir(h.state, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what goes while it is walked is not there
		}
		rel, _ := filepath.Rel(h.state, path)
		switch {
		case e.IsDir() && (rel == "images" || rel == "cache" || e.Name() == "logs"):
			return filepath.SkipDir
		case strings.HasPrefix(rel, "events.jsonl"), e.IsDir(), strings.HasPrefix(e.Name(), "console.log"):
		case e.Type()&os.ModeSocket != 0:
			c.sockets = append(c.sockets, rel)
		default:
			c.files = append(c.files, rel)
		}
		return nil
	})
	return c
}

// same compares two censuses of the same machines.
func (c census) same(t testing.TB, o census) {
	t.Helper()
	if c.mounts != o.mounts || c.loops != o.loops {
		t.Errorf("O3: mounts %d -> %d, loop devices %d -> %d", c.mounts, o.mounts, c.loops, o.loops)
	}
	for what, lists := range map[string][2][]string{"sockets": {c.sockets, o.sockets}, "files": {c.files, o.files}} {
		if more := without(lists[1], lists[0]); len(more) > 0 {
			t.Errorf("O3: %s that were not there: %q", what, more)
		}
	}
}

// without returns what of a is not in b.
func without(a, b []string) []string {
	var rest []string
	for _, x := range a {
		if !slices.Contains(b, x) {
			rest = append(rest, x)
		}
	}
	return rest
}

// status returns a number of kB from /proc/PID/status, 0 when the process is gone.
func status(pid int, field string) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			n, _ := strconv.Atoi(strings.Fields(value)[0])
			return n
		}
	}
	return 0
}
