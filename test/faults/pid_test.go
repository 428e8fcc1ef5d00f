//go:build linux

package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// disguised starts a shell that calls itself something else and waits for a line that
// never comes.
func disguised(t testing.TB, args ...string) *daemon {
	t.Helper()
	d := &daemon{cmd: exec.Command("/bin/sh")}
	d.cmd.Args = args
	if _, err := d.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

// reuse starts such a shell with a process id of one that is gone, nil when somebody else
// on the machine was quicker and keeps it.
func reuse(t testing.TB, pid int, args ...string) *daemon {
	t.Helper()
	for end := time.Now().Add(converges); time.Now().Before(end); {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", fmt.Append(nil, pid-1), 0); err != nil {
			t.Skipf("the next process id cannot be chosen: %v", err)
		}
		d := disguised(t, args...)
		if d.pid() == pid {
			return d
		}
		d.end(syscall.SIGKILL)
		rest(t, 20*time.Millisecond)
	}
	return nil
}

// TestPIDReuse has processes that look like a machine's at the moment its holder is dead,
// one pair of them with the very ids of its holder and its VM: none may be signalled.
func TestPIDReuse(t *testing.T) {
	trials, reused, hit := rounds(5, 100), 0, 0
	figure(t, "7", func() string {
		return fmt.Sprintf("%d looks at a dead machine, %d process ids used again: %d signals to decoys", trials, reused, hit)
	})
	long(t)
	f := newFixture(t, 1, "")
	id := f.pods(t)["p0"].Metadata.UID
	dir := filepath.Join(f.state, "machines", id)
	shim, vm := of(f.shims(), id)[0], of(f.qemus(), id)[0]
	like := map[string][]string{
		"vm":    {"qemu-system-x86_64", "-c", "read line", "-uuid", id},
		"shim":  {built.binary, "-c", "read line", "shim", "--dir", dir},
		"files": {"virtiofsd", "-c", "read line", "--dir", dir},
	}
	var decoys []*daemon
	defer func() {
		for _, d := range decoys {
			d.end(syscall.SIGKILL)
		}
	}()
	for _, args := range like {
		decoys = append(decoys, disguised(t, args...))
	}
	if err := syscall.Kill(shim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "the machine is dead", func() bool { return arguments(shim) == nil && arguments(vm) == nil })
	for pid, args := range map[int][]string{shim: like["shim"], vm: like["vm"]} {
		if d := reuse(t, pid, args...); d != nil {
			decoys = append(decoys, d)
			reused++
		}
	}
	if reused == 0 {
		t.Error("neither process id could be had again")
	}
	for range trials {
		f.pods(t)
	}
	f.must(t, "apply", f.manifests, "--timeout", "3m")
	for _, d := range decoys {
		if err := syscall.Kill(d.pid(), 0); err != nil || zombie(d.pid()) {
			hit++
			t.Errorf("a decoy was ended: %q", d.cmd.Args)
		}
	}
	if !f.pods(t)["p0"].runs() {
		t.Error("the pod does not run again")
	}
}

// zombie tells whether a process has ended and was not waited for.
func zombie(pid int) bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(rest, "Z")
}
