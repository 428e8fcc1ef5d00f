package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func blocks(info os.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks }

func TestRunFollowsTheDirectory(t *testing.T) {
	h := newHost(t)
	h.write("a.yaml", strings.ReplaceAll(sleeper, "NAME", "a"))
	h.write("b.yaml", strings.ReplaceAll(sleeper, "NAME", "b"))
	stop := h.start()
	h.within(time.Minute, "both pods run", func() bool { return h.running("a") && h.running("b") })
	if out := h.firkin("apply", h.manifests); out.code != 4 || !strings.Contains(out.stderr, "pid") {
		t.Errorf("apply beside run: exit %d, stderr %q", out.code, out.stderr)
	}
	h.remove("b.yaml")
	h.within(time.Minute, "b is gone", func() bool { return h.names() == "pod/a" })
	h.write("a.yaml", "kind: [")
	h.within(time.Minute, "the broken file is reported", func() bool { return strings.Contains(h.must("events"), "a.yaml") })
	h.remove("a.yaml")
	h.within(time.Minute, "the empty directory is reported", func() bool { return strings.Contains(h.must("events"), "--allow-empty") })
	if !h.running("a") {
		t.Error("the pod does not run any more")
	}
	stop(syscall.SIGTERM)
	if !h.running("a") {
		t.Error("stopping run stopped the pod")
	}
}

func (h *host) running(name string) bool {
	out := h.firkin("get", "pods", name)
	return out.code == 0 && strings.Contains(out.stdout, "Running") && strings.Contains(out.stdout, "1/1")
}

func TestRunKilledAndStartedAgainTouchesNothing(t *testing.T) {
	h := newHost(t)
	h.write("pair.yaml", twoContainers)
	stop := h.start()
	h.within(time.Minute, "the pod runs", func() bool { return strings.Contains(h.firkin("get", "pods").stdout, "2/2") })
	before := h.get("pair")
	stop(syscall.SIGKILL)

	// A label changes without an action; that it arrives proves that the second run has
	// looked, and what it did not do.
	h.write("pair.yaml", strings.Replace(twoContainers, "{name: pair}", "{name: pair, labels: {seen: by-the-second}}", 1))
	stop = h.start()
	h.within(time.Minute, "the second run has looked", func() bool { return h.get("pair").Metadata.Labels["seen"] != "" })
	after := h.get("pair")
	stop(syscall.SIGTERM)
	if before.Status.Firkin.BootID != after.Status.Firkin.BootID || before.Metadata.UID != after.Metadata.UID {
		t.Error("the VM is another one")
	}
	for _, name := range []string{"left", "right"} {
		if b, a := before.pid(name), after.pid(name); a == 0 || a != b {
			t.Errorf("container %s: PID %d -> %d", name, b, a)
		}
	}
	if out := h.firkin("apply", h.manifests); !strings.Contains(out.stdout+out.stderr, "othing to do") {
		t.Errorf("apply afterwards: %q %q", out.stdout, out.stderr)
	}
}

func TestKilledVMComesBackWithItsDisk(t *testing.T) {
	h := newHost(t)
	h.write("pair.yaml", twoContainers)
	h.write("job.yaml", job)
	h.apply()
	h.finish("job")
	h.must("exec", "pair", "-c", "left", "--", "sh", "-c", "echo precious > /box/file && sync")
	before := h.get("pair")
	for _, p := range h.processesOf("qemu-system") {
		if err := syscall.Kill(p, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	h.within(10*time.Second, "the dead machines are noticed", func() bool { return !strings.Contains(h.must("get", "pods", "pair"), "2/2") })
	h.must("apply", h.manifests)
	after := h.get("pair")
	if before.Status.Firkin.BootID == after.Status.Firkin.BootID {
		t.Error("the VM was not booted anew")
	}
	if got := h.must("exec", "pair", "-c", "left", "--", "cat", "/box/file"); got != "precious\n" {
		t.Errorf("the emptyDir holds %q", got)
	}
	if p := h.get("job"); p.Status.Phase != "Succeeded" || p.container("main").RestartCount != 0 {
		t.Errorf("the finished job ran again: %+v", p.Status)
	}
}
