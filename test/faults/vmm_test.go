//go:build linux

package faults

import (
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// kill kills one process of a pod's machine: its VMM or its shim.
func (f *fixture) kill(t testing.TB, list []process, pod string, sig syscall.Signal) {
	t.Helper()
	pids := of(list, f.pods(t)[pod].Metadata.UID)
	if len(pids) != 1 {
		t.Fatalf("pod %s has %d such processes", pod, len(pids))
	}
	if err := syscall.Kill(pids[0], sig); err != nil {
		t.Fatal(err)
	}
}

// digests returns what the template disks hold.
func (h *host) digests(t testing.TB) map[string][32]byte {
	t.Helper()
	list := make(map[string][32]byte)
	paths, err := filepath.Glob(filepath.Join(h.state, "images", "templates", "*.ext4"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no template disks: %v", err)
	}
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, file); err != nil {
			t.Fatal(err)
		}
		file.Close()
		list[path] = [32]byte(sum.Sum(nil))
	}
	return list
}

// die kills VMs in one way or the other while they write to disk, with run watching: each
// comes back, with what was on its disk.
func die(t *testing.T, row string, kills int, what func(f *fixture) []process) {
	t.Helper()
	var noticed, back time.Duration
	acknowledged, lost := 0, 0
	figure(t, row, func() string {
		return fmt.Sprintf("%d kills under fsync: noticed within %s (at most 2s, of which asking takes some), back within %s (at most %s beyond its back-off), %d records on disk, %d lost; templates unchanged",
			kills, noticed.Round(10*time.Millisecond), back.Round(100*time.Millisecond), converges, acknowledged, lost)
	})
	f := newFixture(t, 3, "fsync")
	templates := f.digests(t)
	d := f.start(t)
	rest(t, time.Second)
	r := dice(t)
	for n := range kills {
		// A pod that dies over and over backs off, so each dies a few times only.
		victim := f.specs[n%len(f.specs)].name
		rest(t, between(r, time.Second, 4*time.Second))
		last := f.acknowledged(t, victim)
		before := f.photograph(t)
		f.kill(t, what(f), victim, syscall.SIGKILL)
		noticed = max(noticed, within(t, converges, "the death is noticed", func() bool { return !f.pods(t)[victim].runs() }))
		back = max(back, within(t, 4*time.Minute, victim+" is back", func() bool { return f.pods(t)[victim].runs() }))
		acknowledged += last
		text := f.must(t, "exec", victim, "-c", "steady", "--", "dd", "if=/d/steady.records", "bs=4096", "count=1", fmt.Sprintf("skip=%d", last))
		if !strings.HasPrefix(text, fmt.Sprintf("%d\n", last)) {
			lost++
			t.Errorf("record %d was on disk and is not any more: %.20q", last, text)
		}
		for _, diff := range before.differences(f.photograph(t)) {
			if !strings.HasPrefix(diff, victim) {
				t.Errorf("touched: %s", diff)
			}
		}
	}
	d.small(t)
	d.end(syscall.SIGTERM)
	f.must(t, "apply", f.manifests, "--timeout", "4m")
	f.oneVMEach(t)
	f.ledgers(t)
	if now := f.digests(t); !maps.Equal(now, templates) {
		t.Error("a template disk was changed")
	}
	if noticed > 2*time.Second {
		t.Errorf("noticed after %s", noticed)
	}
	if err := f.cleanStores(); err != nil {
		t.Error(err)
	}
}

// acknowledged is the number of the last record that a pod said was on its disk.
func (f *fixture) acknowledged(t testing.TB, pod string) int {
	t.Helper()
	said := strings.Fields(f.must(t, "logs", pod, "-c", "steady", "--tail", "20"))
	for _, word := range slices.Backward(said) {
		if n, err := strconv.Atoi(word); err == nil {
			return n
		}
	}
	t.Fatalf("%s said nothing of its records: %q", pod, said)
	return 0
}

// TestVMMKilled kills QEMU at random moments.
func TestVMMKilled(t *testing.T) {
	long(t)
	die(t, "11,37", 9, func(f *fixture) []process { return f.qemus() })
}

// TestShimKilled kills the holder of a VM, and its VM with it.
func TestShimKilled(t *testing.T) {
	long(t)
	die(t, "11b", 6, func(f *fixture) []process { return f.shims() })
}

// TestVMMStopped stops a QEMU for a while: nobody else notices, no second VM is made, and
// it goes on afterwards with the right time.
func TestVMMStopped(t *testing.T) {
	stopped := time.Duration(rounds(8, 60)) * time.Second
	var worst, limit, skew time.Duration
	figure(t, "12,40", func() string {
		return fmt.Sprintf("stopped for %s: commands in other pods p99 %s (at most %s), clock off by %s 5s after (at most 1s), same boot", stopped, worst.Round(10*time.Millisecond), limit.Round(time.Millisecond), skew.Round(10*time.Millisecond))
	})
	long(t)
	f := borrow(t)
	before, actions := f.photograph(t), f.actions(t)
	d := f.start(t)
	rest(t, time.Second)
	id := f.pods(t)["p0"].Metadata.UID
	limit = f.latencyLimit(t, "p1", "steady")
	f.kill(t, f.qemus(), "p0", syscall.SIGSTOP)
	pid := of(f.qemus(), id)[0]
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	var took []time.Duration
	for end := time.Now().Add(stopped); time.Now().Before(end); {
		out := f.firkin(t, "exec", "p1", "-c", "steady", "--", "true")
		took = append(took, out.took)
		if n := len(of(f.qemus(), id)); n != 1 {
			t.Errorf("the stopped pod has %d VMs", n)
		}
		rest(t, 200*time.Millisecond)
	}
	slices.Sort(took)
	worst = took[len(took)*99/100]
	// A change elsewhere is applied meanwhile.
	f.specs[1].look++
	f.write(t, f.specs[1])
	f.adopted(t, f.specs[1])
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	rest(t, 5*time.Second)
	within(t, converges, "the pod answers", func() bool {
		return f.try(t.Context(), "exec", "p0", "-c", "steady", "--", "true").code == 0
	})
	skew = f.skew(t, "p0")
	if skew > time.Second+time.Second/2 { // date has whole seconds
		t.Errorf("the clock is off by %s", skew)
	}
	d.end(syscall.SIGTERM)
	if n := f.actions(t) - actions; n != 0 {
		t.Errorf("%d actions", n)
	}
	if worst > limit {
		t.Errorf("commands in other pods took %s", worst)
	}
	f.untouched(t, before)
}

// skew is how far a pod's clock is off, as far as whole seconds tell.
func (f *fixture) skew(t testing.TB, pod string) time.Duration {
	t.Helper()
	asked := time.Now()
	var seconds int64
	if _, err := fmt.Sscan(f.must(t, "exec", pod, "-c", "steady", "--", "date", "+%s"), &seconds); err != nil {
		t.Fatal(err)
	}
	answered := time.Now()
	// It was read between the two; the distance to that span counts.
	said := time.Unix(seconds, 0)
	switch {
	case said.Add(time.Second).Before(asked):
		return asked.Sub(said.Add(time.Second))
	case said.After(answered):
		return said.Sub(answered)
	}
	return 0
}

// TestReconcilerStopped stops run itself for a while, as a suspended host does.
func TestReconcilerStopped(t *testing.T) {
	stopped := time.Duration(rounds(5, 60)) * time.Second
	figure(t, "40b", func() string { return fmt.Sprintf("run stopped for %s and continued: 0 actions caused by it", stopped) })
	long(t)
	f := borrow(t)
	before, actions := f.photograph(t), f.actions(t)
	d := f.start(t)
	rest(t, time.Second)
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := syscall.Kill(d.pid(), sig); err != nil {
			t.Fatal(err)
		}
		if sig == syscall.SIGSTOP {
			rest(t, stopped)
		}
	}
	f.quietTicks(t)
	d.small(t)
	d.end(syscall.SIGTERM)
	if n := f.actions(t) - actions; n != 0 {
		t.Errorf("%d actions", n)
	}
	f.untouched(t, before)
}

// TestSocketsDeleted takes the sockets of a live machine away, as a cleaner of temporary
// files does: the pod keeps running, nothing else suffers, and it can be reached again.
func TestSocketsDeleted(t *testing.T) {
	var healed time.Duration
	figure(t, "10b", func() string {
		return fmt.Sprintf("shim.sock, link.sock and net.sock removed: 0 VM ends wanted; reachable again after %s (at most %s)", healed.Round(100*time.Millisecond), converges)
	})
	long(t)
	f := newFixture(t, 2, "")
	before := f.photograph(t)
	d := f.start(t)
	rest(t, time.Second)
	id := f.pods(t)["p0"].Metadata.UID
	vm := of(f.qemus(), id)
	for _, name := range []string{"shim.sock", "link.sock", "net.sock"} {
		if err := os.Remove(filepath.Join(f.state, "machines", id, name)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	d.end(syscall.SIGKILL)
	d = f.start(t)
	rest(t, 5*time.Second)
	if now := of(f.qemus(), id); !slices.Equal(now, vm) {
		t.Errorf("the VM was %v and is %v", vm, now)
	}
	healed = within(t, converges, "the pod can be reached again", func() bool { return f.pods(t)["p0"].runs() })
	// Its shim finds the guest again without the link's name.
	if err := dropLink(of(f.shims(), id)[0]); err != nil {
		t.Fatal(err)
	}
	within(t, converges, "the pod answers over a new link", func() bool {
		return f.try(t.Context(), "exec", "p0", "-c", "steady", "--", "true").code == 0
	})
	d.end(syscall.SIGTERM)
	f.untouched(t, before)
	f.oneVMEach(t)
}
