//go:build linux

package faults

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// extra writes a further pod with one container that runs a script.
func (f *fixture) extra(t testing.TB, name, script, more string) {
	t.Helper()
	f.put(t, name+".yaml", fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: sibling
    image: oci:%s
    command: [sleep, "1000000"]
  - name: main
    image: oci:%s
    command: [sh, -c, %q]
%s
`, name, built.image, built.image, script, more))
}

// latencyLimit is how long a command in a container may take while something else is at
// fault: 2 s, or three times what it took without the fault on a machine that is busy
// with other things.
func (f *fixture) latencyLimit(t testing.TB, pod, container string) time.Duration {
	t.Helper()
	return max(2*time.Second, 3*f.latency(t, pod, container, 5*time.Second))
}

// latency runs a command in a container for a while and returns the 99th percentile.
func (f *fixture) latency(t testing.TB, pod, container string, length time.Duration) time.Duration {
	t.Helper()
	var took []time.Duration
	for end := time.Now().Add(length); time.Now().Before(end); {
		out := f.firkin(t, "exec", pod, "-c", container, "--", "true")
		if out.code != 0 {
			t.Errorf("exec in %s/%s: exit %d", pod, container, out.code)
		}
		took = append(took, out.took)
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// TestOutOfMemory has a container take more memory than it may, over and over.
func TestOutOfMemory(t *testing.T) {
	kills, right := rounds(1, 6), 0
	figure(t, "15", func() string {
		return fmt.Sprintf("%d kills by the container's limit: %d told as OOMKilled; agent and sibling alive", kills, right)
	})
	long(t)
	f := &fixture{host: newHost(t)}
	for n := range kills {
		f.extra(t, fmt.Sprintf("oom%d", n), "tail /dev/zero", "    resources: {limits: {memory: 24Mi}}\n  restartPolicy: Never")
	}
	f.try(t.Context(), "apply", f.manifests, "--timeout", "2m", "--parallel", "2")
	d := f.start(t)
	within(t, 2*time.Minute, "all are killed", func() bool {
		right = 0
		for _, p := range f.pods(t) {
			for _, c := range p.Status.ContainerStatuses {
				if c.Name == "main" && c.State.Terminated != nil && c.State.Terminated.Reason == "OOMKilled" {
					right++
				}
			}
		}
		return right == kills
	})
	for name := range f.pods(t) {
		if out := f.firkin(t, "exec", name, "-c", "sibling", "--", "true"); out.code != 0 {
			t.Errorf("the sibling in %s does not answer", name)
		}
	}
	d.end(syscall.SIGTERM)
}

// TestForkBomb has a container fork for ever.
func TestForkBomb(t *testing.T) {
	var p99, limit time.Duration
	figure(t, "17", func() string {
		return fmt.Sprintf("fork bomb in one container: commands in its sibling p99 %s (at most %s); removed by a change of its manifest", p99.Round(10*time.Millisecond), limit.Round(time.Millisecond))
	})
	long(t)
	f := &fixture{host: newHost(t)}
	f.extra(t, "bomb", "sleep 1000000", "  restartPolicy: Never")
	f.must(t, "apply", f.manifests, "--timeout", "3m")
	limit = f.latencyLimit(t, "bomb", "sibling")
	f.extra(t, "bomb", "b() { b | b & }; b; sleep 1000000", "  restartPolicy: Never")
	f.must(t, "apply", f.manifests, "--timeout", "3m")
	boot := f.pods(t)["bomb"].Status.Firkin.BootID
	rest(t, 3*time.Second)
	p99 = f.latency(t, "bomb", "sibling", 10*time.Second)
	if p99 > limit {
		t.Errorf("commands in the sibling took %s", p99)
	}
	f.extra(t, "bomb", "sleep 1000000", "  restartPolicy: Never")
	f.must(t, "apply", f.manifests, "--timeout", "1m")
	if p := f.pods(t)["bomb"]; p.Status.Firkin.BootID != boot || !p.runs() {
		t.Error("the pod's VM is another one, or does not run")
	}
}

// TestLogFlood has a container print as fast as it can.
func TestLogFlood(t *testing.T) {
	length := time.Duration(rounds(5, 30)) * time.Second
	var size int64
	var p99, limit time.Duration
	const most = 6 * 10 << 20 // five files of 10 MiB, and one
	figure(t, "40c", func() string {
		return fmt.Sprintf("%s of output as fast as it goes: %d MiB of logs kept (at most %d), commands in its sibling p99 %s (at most %s)", length, size>>20, int64(most)>>20, p99.Round(10*time.Millisecond), limit.Round(time.Millisecond))
	})
	long(t)
	f := &fixture{host: newHost(t)}
	f.extra(t, "loud", "sleep 1000000", "  restartPolicy: Never")
	f.must(t, "apply", f.manifests, "--timeout", "3m")
	limit = f.latencyLimit(t, "loud", "sibling")
	f.extra(t, "loud", "while true; do cat /ledger /bin/busybox; done", "  restartPolicy: Never")
	f.must(t, "apply", f.manifests, "--timeout", "3m")
	d := f.start(t)
	p99 = f.latency(t, "loud", "sibling", length)
	logs, err := filepath.Glob(filepath.Join(f.state, "machines", "*", "logs"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs: %q %v", logs, err)
	}
	err = filepath.WalkDir(logs[0], func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size += info.Size()
		}
		return nil // a file that was rotated away meanwhile counts nothing
	})
	if err != nil {
		t.Fatal(err)
	}
	if size > most {
		t.Errorf("%d MiB of logs", size>>20)
	}
	if p99 > limit {
		t.Errorf("commands in the sibling took %s", p99)
	}
	f.smallShims(t)
	d.small(t)
	d.end(syscall.SIGTERM)
	if !f.pods(t)["loud"].runs() {
		t.Error("the pod does not run any more")
	}
}

// TestGuestPanic has guest kernels panic.
func TestGuestPanic(t *testing.T) {
	panics := rounds(1, 3)
	var noticed, back time.Duration
	figure(t, "13", func() string {
		return fmt.Sprintf("%d panics: noticed within %s (at most 5s), back within %s (at most %s beyond its back-off)", panics, noticed.Round(10*time.Millisecond), back.Round(100*time.Millisecond), converges)
	})
	long(t)
	f := &fixture{host: newHost(t)}
	f.extra(t, "victim", "sleep 1000000", "    securityContext: {privileged: true, runAsUser: 0}")
	f.must(t, "apply", f.manifests, "--timeout", "3m")
	d := f.start(t)
	for range panics {
		boot := f.pods(t)["victim"].Status.Firkin.BootID
		out := f.try(t.Context(), "exec", "victim", "-c", "main", "--", "sh", "-c", "mkdir -p /tmp/p && mount -t proc proc /tmp/p; echo c > /tmp/p/sysrq-trigger || echo c > /proc/sysrq-trigger")
		noticed = max(noticed, within(t, converges, "the panic is noticed: "+strings.TrimSpace(out.stderr), func() bool {
			return !f.pods(t)["victim"].runs()
		}))
		back = max(back, within(t, 4*time.Minute, "the pod is back", func() bool {
			p := f.pods(t)["victim"]
			return p.runs() && p.Status.Firkin.BootID != boot
		}))
	}
	if noticed > 5*time.Second {
		t.Errorf("noticed after %s", noticed)
	}
	d.end(syscall.SIGTERM)
}
