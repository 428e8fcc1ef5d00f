package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGroupValues(t *testing.T) {
	l := limits{memory: 1 << 30, threads: 129, cpus: 3}
	all := (&group{controllers: []string{"cpu", "io", "memory", "pids"}}).values(l)
	if diff := cmp.Diff(map[string]string{"memory.max": "1073741824", "pids.max": "129", "cpu.max": "300000 100000"}, all); diff != "" {
		t.Error(diff)
	}
	if some := (&group{controllers: []string{"pids"}}).values(l); len(some) != 1 {
		t.Errorf("of controllers that are off: %v", some)
	}
}

func TestGroupMount(t *testing.T) {
	for name, test := range map[string]struct{ mounts, want string }{
		"unified": {"24 23 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate", "/sys/fs/cgroup"},
		"hybrid": {"24 23 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n25 24 0:23 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"26 24 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw", "/sys/fs/cgroup/unified"},
		"none":  {"24 23 0:22 / /sys/fs/cgroup rw - tmpfs cgroup2 rw", ""},
		"empty": {"", ""},
	} {
		file := filepath.Join(t.TempDir(), "mountinfo")
		if err := os.WriteFile(file, []byte(test.mounts+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := groupMount(file); got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestNoGroupWithoutCgroups: what is no tree of cgroups gives no cgroup, and is left as it was.
func TestNoGroupWithoutCgroups(t *testing.T) {
	root := filepath.Join(t.TempDir(), "none")
	if g, err := newGroupIn(filepath.Join("/proc", "none"), testID, limits{}); err == nil {
		t.Errorf("a cgroup where none can be: %+v", g)
	}
	g, err := newGroupIn(root, testID, limits{})
	if err != nil || len(g.controllers) != 0 {
		t.Fatalf("%+v, %v", g, err)
	}
	if err := g.remove(); err != nil {
		t.Error(err)
	}
	if err := g.remove(); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, groupName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
}

// testGroups is a cgroup of the host to try things in.
func testGroups(t *testing.T) string {
	t.Helper()
	top, err := groupMount("/proc/self/mountinfo")
	if err != nil || os.Geteuid() != 0 {
		t.Skipf("no cgroups of version 2 to work with: %v", err)
	}
	root := filepath.Join(top, fmt.Sprintf("firkin-test-%d", os.Getpid()))
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Skipf("no cgroup can be made: %v", err)
	}
	t.Cleanup(func() {
		if err := os.Remove(root); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"cpu", "io", "memory", "pids"} {
		_ = os.WriteFile(filepath.Join(top, "cgroup.subtree_control"), []byte("+"+name), 0) // as newGroup does; they may not be there
	}
	return root
}

// TestGroupHolds puts a process into a machine's cgroup on a real kernel: it is there, the limits are in force as far as
// the host has the controllers, and nothing is left at the end.
func TestGroupHolds(t *testing.T) {
	root := testGroups(t)
	l := limits{memory: 64 << 20, threads: 16, cpus: 1}
	g, err := newGroupIn(root, testID, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("controllers: %q", g.controllers)
	for file, want := range g.values(l) {
		if got, err := os.ReadFile(filepath.Join(g.dir, file)); err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s is %q, %v, want %s", file, got, err, want)
		}
	}
	sleeper := exec.Command("sleep", "60")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.add(sleeper.Process.Pid); err != nil {
		t.Error(err)
	}
	where, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", sleeper.Process.Pid))
	if err != nil || !strings.Contains(string(where), groupName+"/"+testID+"\n") {
		t.Errorf("the process is in %q, %v", where, err)
	}
	if err := os.Remove(g.dir); err == nil {
		t.Error("a cgroup with a process in it can be removed")
	}
	_ = sleeper.Process.Kill()
	_ = sleeper.Wait()
	if err := g.remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, groupName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
	if err := g.add(os.Getpid()); err == nil {
		t.Error("a process was put into a cgroup that is gone")
	}
}

// TestGroupLimitsHold has processes in a machine's cgroup take more than they may.
func TestGroupLimitsHold(t *testing.T) {
	root := testGroups(t)
	g, err := newGroupIn(root, testID, limits{memory: 32 << 20, threads: 8, cpus: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.remove(); err != nil {
			t.Error(err)
		}
	}()
	for _, test := range []struct{ controller, script, events, counts string }{
		{"pids", `read go; i=0; while [ $i -lt 20 ]; do sleep 5 & i=$((i+1)); done`, "pids.events", "max "},
		{"memory", `read go; head -c 200000000 /dev/zero | tail -c 200000000 >/dev/null`, "memory.events", "max "},
	} {
		if !slices.Contains(g.controllers, test.controller) {
			t.Skipf("the host does not give us the controller %s", test.controller)
		}
		taker := exec.Command("sh", "-c", test.script)
		start, err := taker.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := taker.Start(); err != nil {
			t.Fatal(err)
		}
		if err := g.add(taker.Process.Pid); err != nil {
			t.Error(err)
		}
		if _, err := start.Write([]byte("go\n")); err != nil {
			t.Error(err)
		}
		_ = taker.Wait() // how it fails is up to the shell
		if err := write(filepath.Join(g.dir, "cgroup.kill"), "1"); err != nil {
			t.Error(err)
		}
		events, err := os.ReadFile(filepath.Join(g.dir, test.events))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(events)) {
			if n, ok := strings.CutPrefix(line, test.counts); ok && strings.TrimSpace(n) == "0" {
				t.Errorf("%s was not needed: %s", test.controller, events)
			}
		}
		t.Logf("%s: %q", test.controller, events)
	}
}

// TestGroupsLeftAreSwept: an old cgroup without processes is one that a killed holder left; a young one is about to
// get its machine, and one with processes has it.
func TestGroupsLeftAreSwept(t *testing.T) {
	root := testGroups(t)
	all := filepath.Join(root, groupName)
	ids := []string{"young", "old"}
	for _, id := range ids {
		if _, err := newGroupIn(root, id, limits{memory: 1 << 30, threads: 9, cpus: 1}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, id := range append(ids, testID) {
			if err := (&group{dir: filepath.Join(all, id)}).remove(); err != nil {
				t.Error(err)
			}
		}
	})
	past := time.Now().Add(-2 * groupAge)
	if err := os.Chtimes(filepath.Join(all, "old"), past, past); err != nil {
		t.Skipf("cgroups have no times here: %v", err)
	}
	if _, err := newGroupIn(root, testID, limits{memory: 1 << 30, threads: 9, cpus: 1}); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(all, "*-*"))
	if err != nil || len(left) != 1 {
		t.Errorf("machines' cgroups: %q, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(all, "old")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old one is there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(all, "young")); err != nil {
		t.Errorf("the young one is gone: %v", err)
	}
}
