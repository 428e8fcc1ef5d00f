package main_test

import (
	"strings"
	"testing"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// TestSharedProcesses boots a machine whose containers share a process namespace.
func TestSharedProcesses(t *testing.T) {
	m := boot(t, t.TempDir())
	m.addTemplate(disk)
	m.configureWith(func(r *agentpb.ConfigureRequest) { r.ShareProcesses = true })
	m.sleeping("one", nil)
	m.sleeping("two", nil, func(c *agentpb.ContainerSpec) { c.User = "app" })
	t.Run("all see all of the pod and nothing of the machine", func(t *testing.T) {
		for _, c := range []string{"one", "two"} {
			r := m.run(c, "ps")
			if !strings.Contains(r.stdout, "1 pause\n") || strings.Count(r.stdout, " /probe sleep\n") != 2 || strings.Count(r.stdout, "\n") != 4 {
				t.Errorf("%s sees: %+v", c, r)
			}
		}
	})
	t.Run("the first process is out of reach", func(t *testing.T) {
		for _, argv := range [][]string{{"dir", "/proc/1/root"}, {"readlink", "/proc/1/exe"}, {"cat", "/proc/1/environ"}} {
			m.expect(t, "one", argv, "permission denied")
		}
		m.survivesSignals(t, "one")
		m.expect(t, "one", []string{"ps"}, "1 pause\n")
		m.expect(t, "two", []string{"kill", "1", "9", "9"}, "operation not permitted")
	})
	m.checkOrphans(t)
	for _, c := range []string{"one", "two"} {
		if code := m.remove(c, 10*time.Second); code != 0 {
			t.Errorf("%s: exit code %d", c, code)
		}
	}
}

// TestMachineProcesses boots a machine whose containers see all of its processes.
func TestMachineProcesses(t *testing.T) {
	m := boot(t, t.TempDir())
	m.addTemplate(disk)
	m.configureWith(func(r *agentpb.ConfigureRequest) { r.HostPid = true })
	m.sleeping("one", nil)
	m.sleeping("two", nil)
	m.expect(t, "one", []string{"ps"}, "1 /init", "/probe sleep")
	m.expect(t, "one", []string{"dir", "/proc/1/root"}, "permission denied")
	m.survivesSignals(t, "one")
	m.checkOrphans(t)
	for _, c := range []string{"one", "two"} {
		if code := m.remove(c, 10*time.Second); code != 0 {
			t.Errorf("%s: exit code %d", c, code)
		}
	}
}

// survivesSignals has a container that may do so send every signal to process 1.
func (m *machine) survivesSignals(t *testing.T, container string) {
	t.Helper()
	for range 2 {
		if r := m.run(container, "kill", "1", "0", "31"); r.code != 0 {
			t.Errorf("signals: %+v", r)
		}
	}
}

// checkOrphans: what a container's process leaves behind ends with the container, and is
// reaped whenever it ends.
func (m *machine) checkOrphans(t *testing.T) {
	t.Run("nothing outlives a container's first process", func(t *testing.T) {
		m.add(&agentpb.ContainerSpec{Name: "short", Argv: []string{"/probe", "orphan", "/dev/shm/short"}})
		if w := m.wait("short"); w.GetExitCode() != 0 {
			t.Errorf("exit code %d", w.GetExitCode())
		}
		m.gone(t, strings.TrimSpace(m.run("one", "cat", "/dev/shm/short").stdout))
	})
	t.Run("an orphan is reaped", func(t *testing.T) {
		if r := m.run("two", "orphan", "/dev/shm/orphan"); r.code != 0 {
			t.Fatalf("orphan: %+v", r)
		}
		pid := strings.TrimSpace(m.run("one", "cat", "/dev/shm/orphan").stdout)
		m.expect(t, "one", []string{"ps"}, pid+" /probe sleep")
		m.run("one", "kill", pid, "9", "9")
		m.gone(t, pid)
	})
	t.Run("and one that runs ends with its container", func(t *testing.T) {
		m.sleeping("three", nil)
		if r := m.run("three", "orphan", "/dev/shm/third"); r.code != 0 {
			t.Fatalf("orphan: %+v", r)
		}
		pid := strings.TrimSpace(m.run("one", "cat", "/dev/shm/third").stdout)
		if code := m.remove("three", 10*time.Second); code != 0 {
			t.Errorf("exit code %d", code)
		}
		m.gone(t, pid)
	})
}

// gone: there is no such process, not even one that nobody has reaped.
func (m *machine) gone(t *testing.T, pid string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		r := m.run("one", "ps")
		if pid != "" && r.code == 0 && !strings.Contains("\n"+r.stdout, "\n"+pid+" ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %q is still there: %+v", pid, r)
		}
	}
}
