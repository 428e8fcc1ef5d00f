//go:build linux

package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// smallState puts the state directory on a file system of its own, of so many MiB.
func (h *host) smallState(t *testing.T, mib int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	if err := os.MkdirAll(h.state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("faults", h.state, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", mib)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
		defer cancel()
		_ = os.Remove(filepath.Join(h.state, "filler"))
		h.try(ctx, "delete", "--all") // newHost's own clean-up asserts
		if err := syscall.Unmount(h.state, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// fill takes all space that is left; the returned function gives it back.
func (h *host) fill(t testing.TB) (free func()) {
	t.Helper()
	path := filepath.Join(h.state, "filler")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	block := make([]byte, 1<<20)
	for size := len(block); size >= 4096; size /= 2 {
		for {
			if _, err := file.Write(block[:size]); err != nil {
				break
			}
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// lastRecord reads the record that a pod wrote last, and checks it.
func (f *fixture) lastRecord(t testing.TB, pod string) int {
	t.Helper()
	script := `n=$(($(wc -c < /d/steady.records) / 4096 - 1)); echo $n; dd if=/d/steady.records bs=4096 skip=$n count=1 2>/dev/null | head -1`
	out := f.must(t, "exec", pod, "-c", "steady", "--", "sh", "-c", script)
	words := strings.Fields(out)
	if len(words) != 2 || words[0] != words[1] {
		t.Errorf("the last record of %s is torn: %.100q", pod, out)
		return 0
	}
	var n int
	if _, err := fmt.Sscan(words[0], &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestHostDiskFull fills the host's disk under the stores of pods that write, and
// empties it again.
func TestHostDiskFull(t *testing.T) {
	cycles, lost, told := rounds(1, 8), 0, false
	var resumed time.Duration
	figure(t, "34", func() string {
		return fmt.Sprintf("%d times full and free again: %d acknowledged records lost, told to the user: %t, writing again within %s (at most 10s)", cycles, lost, told, resumed.Round(100*time.Millisecond))
	})
	long(t)
	h := newHost(t)
	h.smallState(t, 160)
	f := populate(t, &fixture{host: h}, 2, "fsync")
	before := f.photograph(t)
	d := f.start(t)
	for range cycles {
		acknowledged := f.lastRecord(t, "p0")
		free := f.fill(t)
		rest(t, 8*time.Second)
		free()
		resumed = max(resumed, within(t, converges, "the pod writes again", func() bool {
			out := f.try(t.Context(), "exec", "p0", "-c", "steady", "--", "true")
			return out.code == 0 && f.lastRecord(t, "p0") > acknowledged+1
		}))
		if f.lastRecord(t, "p0") < acknowledged {
			lost++
		}
	}
	// A stopped VM is resumed every 2 s; the rest is the guest's own, and what asking takes.
	if resumed > 10*time.Second {
		t.Errorf("writing again after %s", resumed)
	}
	for _, e := range f.events(t) {
		told = told || strings.Contains(strings.ToLower(e.Message+e.Reason), "space") || strings.Contains(e.Reason, "Full")
	}
	for _, log := range []string{d.said.String(), f.try(t.Context(), "describe", "pod", "p0").stdout} {
		told = told || strings.Contains(log, "space")
	}
	if !told {
		t.Error("nothing tells the user that the disk was full")
	}
	d.end(syscall.SIGTERM)
	f.untouched(t, before)
	f.oneVMEach(t)
	if err := f.cleanStores(); err != nil {
		t.Error(err)
	}
}

// TestStateDirectoryFull leaves no byte in the state directory while reconcilers come and
// go: pods live on, and all is well once there is space.
func TestStateDirectoryFull(t *testing.T) {
	cycles := rounds(1, 20)
	figure(t, "35", func() string {
		return fmt.Sprintf("%d times no space for state, with run, apply and changes: 0 VM ends wanted; converges after", cycles)
	})
	long(t)
	h := newHost(t)
	h.smallState(t, 160)
	f := populate(t, &fixture{host: h}, 2, "")
	before := f.photograph(t)
	r := dice(t)
	for range cycles {
		d := f.start(t)
		rest(t, between(r, 300*time.Millisecond, time.Second))
		free := f.fill(t)
		f.specs[0].look++
		f.write(t, f.specs[0])
		rest(t, time.Second)
		d.end(syscall.SIGKILL)
		d = f.start(t)
		rest(t, time.Second)
		f.try(t.Context(), "apply", f.manifests, "--timeout", "5s")
		free()
		f.adopted(t, f.specs[0])
		d.end(syscall.SIGTERM)
	}
	f.untouched(t, before)
	f.oneVMEach(t)
	f.quiet(t)
	for _, path := range f.stateFiles(t) {
		if strings.Contains(filepath.Base(path), ".tmp") || strings.HasPrefix(filepath.Base(path), ".machine") {
			t.Errorf("half a state file is left: %s", path)
		}
	}
}

// TestStateDirectoryReadOnly runs reconcilers that cannot write the state directory, or
// no file of more than some bytes.
func TestStateDirectoryReadOnly(t *testing.T) {
	cycles := rounds(1, 10)
	figure(t, "35b", func() string {
		return fmt.Sprintf("%d runs each on a read-only state directory and with a file size limit of 100 bytes, and changes: 0 VM ends wanted", cycles)
	})
	long(t)
	f := borrow(t)
	before := f.photograph(t)
	readOnly := `mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"`
	for name, prefix := range map[string][]string{
		"read-only": {"unshare", "-m", "--propagation", "private", "sh", "-c", readOnly, f.state},
		"limited":   {"prlimit", "--fsize=100", "--"},
	} {
		for range cycles {
			f.prefix = prefix
			d := f.start(t)
			f.specs[0].look++
			f.write(t, f.specs[0])
			rest(t, 1500*time.Millisecond)
			f.try(t.Context(), "apply", f.manifests, "--timeout", "5s")
			f.try(t.Context(), "get", "pods")
			d.end(syscall.SIGKILL)
			f.prefix = nil
			if d.said.String() == "" {
				t.Logf("%s: run says nothing", name)
			}
			if strings.Contains(d.said.String(), "goroutine ") {
				t.Errorf("%s: run crashes: %.1000s", name, d.said)
			}
		}
	}
	f.must(t, "apply", f.manifests, "--timeout", "3m")
	f.untouched(t, before)
}
