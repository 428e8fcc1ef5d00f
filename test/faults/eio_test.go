//go:build linux

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tries counts what the journal says of a pod's failures, by reason.
func (f *fixture) tries(t testing.TB, pod string) map[string]int {
	t.Helper()
	list := make(map[string]int)
	for _, e := range f.events(t) {
		if e.Type == "Warning" && strings.HasSuffix(e.Pod, "/"+pod) {
			list[e.Reason]++
		}
	}
	return list
}

// reboot ends a pod's VM and what holds it, while no reconciler is there to notice, and
// has change done before the next boot.
func (f *fixture) reboot(t *testing.T, pod string, change func(dir string)) {
	t.Helper()
	id := f.pods(t)[pod].Metadata.UID
	for _, p := range append(f.shims(), f.qemus()...) {
		if p.id == id {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
	within(t, converges, "the VM is dead", func() bool { return len(of(f.shims(), id))+len(of(f.qemus(), id)) == 0 })
	change(filepath.Join(f.state, "machines", id))
}

// othersUntouched asserts that of all pods but one every container still is the one it was.
func (f *fixture) othersUntouched(t testing.TB, was photo, pod string) {
	t.Helper()
	for _, diff := range was.differences(f.photograph(t)) {
		if !strings.HasPrefix(diff, pod) {
			t.Errorf("touched: %s", diff)
		}
	}
}

// TestStoreFails has the disk below the store of one pod fail for good (EIO) while the
// pod writes, and be there again later.
func TestStoreFails(t *testing.T) {
	const broken = 45 * time.Second
	var noticed, back time.Duration
	lost := 0
	var told map[string]int
	figure(t, "36", func() string {
		return fmt.Sprintf("EIO of one store for %s: told after %s as %v; back %s after the disk is (its back-off of at most 64s included); %d acknowledged records lost; others untouched",
			broken, noticed.Round(100*time.Millisecond), told, back.Round(100*time.Millisecond), lost)
	})
	long(t)
	f := newFixture(t, 2, "fsync")
	disk := f.newVolume(t, filepath.Join(f.dir, "disk"), 160)
	var store string
	var away func()
	f.reboot(t, "p0", func(dir string) {
		store = filepath.Join(dir, "store.img")
		disk.hold(t, store)
		away = disk.over(t, store)
	})
	d := f.start(t)
	within(t, busyConverges, "the pod writes", func() bool {
		p := f.pods(t)["p0"]
		return p.runs() && f.acknowledged(t, "p0") > 10
	})
	before, earlier := f.photograph(t), f.tries(t, "p0")
	noted := f.noteRecords(t)
	disk.die(t)
	noticed = within(t, converges, "the failure is noticed, and why", func() bool {
		text := f.try(t.Context(), "describe", "pod", "p0").stdout
		return strings.Contains(text, "the host failed to") && strings.Contains(text, "its disk store")
	})
	rest(t, broken-noticed)
	told = f.tries(t, "p0")
	for reason, n := range earlier {
		told[reason] -= n
	}
	t.Logf("%s", f.must(t, "describe", "pod", "p0"))
	// The disk is there again, as it was when it failed.
	away()
	disk.unmount(t)
	disk.mount(t)
	disk.over(t, store)
	back = within(t, 4*time.Minute, "the pod is back", func() bool { return f.pods(t)["p0"].runs() })
	lost = f.stillThere(t, noted)
	f.othersUntouched(t, before, "p0")
	if n := told["BootFailed"]; n == 0 || n > 7 {
		t.Errorf("%d boots failed in %s, want a few: %v", n, broken, told)
	}
	d.small(t)
	d.end(syscall.SIGTERM)
	f.oneVMEach(t)
	f.ledgers(t)
	if err := f.cleanStores(); err != nil {
		t.Error(err)
	}
}

// dropped empties the host's cache of a file, so that it is read from its disk again.
func dropped(t testing.TB, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
}

// TestTemplateFails has the disk below an image fail (EIO) while a pod of that image runs and
// another is to start, and mends it later.
func TestTemplateFails(t *testing.T) {
	const broken = 30 * time.Second
	var told map[string]int
	var healed time.Duration
	figure(t, "36b", func() string {
		return fmt.Sprintf("EIO of an image for %s: its running pod reads what it can and is not touched, a new one fails and is told as %v; starts %s after the disk is mended; others untouched",
			broken, told, healed.Round(100*time.Millisecond))
	})
	long(t)
	f := newFixture(t, 1, "")
	known := f.digests(t)
	text := strings.Replace(visitorPod, "IMAGE", f.anotherImage(t, 0), 1)
	f.put(t, "reader.yaml", strings.Replace(text, "visitor", "reader", 1))
	f.must(t, "apply", f.manifests, "--timeout", "3m")
	template := ""
	for path := range f.digests(t) {
		if _, ok := known[path]; !ok {
			template = path
		}
	}
	disk := f.newVolume(t, filepath.Join(f.dir, "disk"), 32)
	f.reboot(t, "reader", func(string) {
		disk.hold(t, template)
		disk.unmount(t)
		disk.mount(t, "ro")
		disk.over(t, template)
	})
	d := f.start(t)
	within(t, busyConverges, "the pod is back", func() bool { return f.pods(t)["reader"].runs() })
	before := f.photograph(t)
	mend := disk.cut(t)
	dropped(t, template)
	read := func() int {
		return f.try(t.Context(), "exec", "reader", "-c", "c", "--", "/bin/busybox", "cat", "/blob").code
	}
	if code := read(); code == 0 {
		t.Error("what is on a broken disk can be read")
	}
	f.put(t, "second.yaml", strings.Replace(text, "visitor", "second", 1))
	rest(t, broken)
	told = f.tries(t, "second")
	t.Logf("%s", f.must(t, "describe", "pod", "second"))
	t.Logf("%s", f.must(t, "events"))
	if f.pods(t)["second"].runs() || len(told) == 0 {
		t.Errorf("the other pod of that image: told %v", told)
	}
	f.othersUntouched(t, before, "second")
	mend()
	healed = within(t, busyConverges, "the other pod runs", func() bool { return f.pods(t)["second"].runs() })
	if code := read(); code != 0 {
		t.Errorf("the image is mended and cannot be read: exit %d", code)
	}
	d.small(t)
	d.end(syscall.SIGTERM)
}
