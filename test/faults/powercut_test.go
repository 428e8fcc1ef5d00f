//go:build linux

package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/firkin-dev/firkin-reconcile/image/makeimage"
)

// powerCut ends everything as a cut of the host's power does: what the kernel had not
// written to the disk of the state directory is lost, and so is every process. Then the
// disk is mounted again, which replays its journal.
func (f *fixture) powerCut(t testing.TB, disk *volume, d *daemon) {
	t.Helper()
	f.remember()
	disk.die(t)
	d.end(syscall.SIGKILL)
	within(t, converges, "everything is dead", func() bool {
		left := append(f.shims(), f.qemus()...)
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		return len(left) == 0
	})
	disk.unmount(t)
	disk.mount(t)
}

// mended asserts what must hold after a power cut: the state loads; what is left of each store
// is mended by its journal alone and clean then (O4); templates, of which only whole ones have
// a name, are clean as they are, and those that were there have not changed.
func (f *fixture) mended(t testing.TB, templates map[string][32]byte) (stores int) {
	t.Helper()
	f.must(t, "get", "pods")
	list, err := filepath.Glob(filepath.Join(f.state, "machines", "*", "store.img"))
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(f.dir, "store.copy")
	defer os.Remove(copied)
	for _, store := range list {
		if out, err := exec.Command("cp", "--sparse=always", store, copied).CombinedOutput(); err != nil {
			t.Fatalf("copy: %v\n%s", err, out)
		}
		out, err := exec.Command("e2fsck", "-fp", copied).CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) {
			t.Errorf("O4: e2fsck -fp of %s: %v\n%s", store, err, out)
			continue
		}
		if err := clean(copied); err != nil {
			t.Error(err)
		}
	}
	now := f.digests(t)
	for path := range now {
		if err := clean(path); err != nil {
			t.Error(err)
		}
	}
	for path, sum := range templates {
		if now[path] != sum {
			t.Errorf("template %s was changed", path)
		}
	}
	return len(list)
}

// anotherImage makes an image that no other is like, with a file of 4 MiB, and returns its
// directory.
func (f *fixture) anotherImage(t testing.TB, n int) string {
	t.Helper()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	shell, err := os.ReadFile("/bin/busybox")
	ok(err)
	layer, err := makeimage.Layer(
		makeimage.File{Path: "bin/"}, makeimage.File{Path: "proc/"}, makeimage.File{Path: "dev/"}, makeimage.File{Path: "sys/"},
		makeimage.File{Path: "bin/busybox", Mode: 0o755, Data: shell}, makeimage.File{Path: "blob", Data: bytes.Repeat(fmt.Appendf(nil, "%08d", n), 1<<19)},
	)
	ok(err)
	img, err := makeimage.Image(runtime.GOARCH, v1.Config{Cmd: []string{"/bin/busybox", "sleep", "1000000"}}, layer)
	ok(err)
	dir := filepath.Join(f.dir, fmt.Sprintf("image%d", n))
	ok(makeimage.WriteLayout(dir, map[string]v1.Image{"1": img}))
	return dir
}

// visitor is the file of a pod that comes and goes.
const visitor = "visitor.yaml"

// visitorPod is of an image that was never seen before each time.
const visitorPod = `apiVersion: v1
kind: Pod
metadata: {name: visitor}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: "oci:IMAGE:1"}]
`

// bustle has the reconciler do every kind of work: it replaces containers, and makes or
// removes a pod whose image is built first.
func (f *fixture) bustle(t testing.TB, r *rand.Rand, n int) {
	t.Helper()
	for _, s := range f.specs {
		if r.IntN(2) == 0 {
			s.version++
			f.write(t, s)
		}
	}
	if err := os.Remove(filepath.Join(f.manifests, visitor)); err == nil && r.IntN(2) == 0 || !all() {
		return
	}
	f.put(t, visitor, strings.Replace(visitorPod, "IMAGE", f.anotherImage(t, n), 1))
}

// allBack waits until every pod of the fixture runs, and the visitor if there is one.
func (f *fixture) allBack(t testing.TB) time.Duration {
	t.Helper()
	names := []string{}
	if _, err := os.Stat(filepath.Join(f.manifests, visitor)); err == nil {
		names = append(names, "visitor")
	}
	for _, s := range f.specs {
		names = append(names, s.name)
	}
	return within(t, 2*busyConverges, "the pods are back", func() bool {
		pods := f.pods(t)
		return !slices.ContainsFunc(names, func(name string) bool { return !pods[name].runs() })
	})
}

// noteRecords returns the last record that each pod said was on its disk, as far as its
// log can be read.
func (f *fixture) noteRecords(t testing.TB) map[string]int {
	t.Helper()
	last := make(map[string]int)
	for _, s := range f.specs {
		out := f.try(t.Context(), "logs", s.name, "-c", "steady", "--tail", "20")
		for _, word := range strings.Fields(out.stdout) {
			if n, err := strconv.Atoi(word); err == nil {
				last[s.name] = n
			}
		}
	}
	return last
}

// stillThere asserts that noted records are on the disks of their pods; it says how many are not.
func (f *fixture) stillThere(t testing.TB, noted map[string]int) (lost int) {
	t.Helper()
	for pod, n := range noted {
		text := f.must(t, "exec", pod, "-c", "steady", "--", "dd", "if=/d/steady.records", "bs=4096", "count=1", fmt.Sprintf("skip=%d", n))
		if !strings.HasPrefix(text, fmt.Sprintf("%d\n", n)) {
			lost++
			t.Errorf("record %d of %s was on disk and is not any more: %.20q", n, pod, text)
		}
	}
	return lost
}

// TestPowerCut cuts the power of the host at random moments of work and of recovery.
func TestPowerCut(t *testing.T) {
	cuts := rounds(1, 24)
	var slowest time.Duration
	looked, lost, stores, again := 0, 0, 0, 0
	figure(t, "37", func() string {
		return fmt.Sprintf("%d power cuts under work, after %d of them another while all came back: state loads, all pods back within %s (at most 90s); %d last acknowledged records looked for, %d lost; %d stores mended by their journals, templates unchanged",
			cuts, again, slowest.Round(100*time.Millisecond), looked, lost, stores)
	})
	r := dice(t)
	h := newHost(t)
	disk := h.newVolume(t, h.state, 768)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
		defer cancel()
		h.try(ctx, "delete", "--all") // newHost's own clean-up asserts
	})
	f := populate(t, &fixture{host: h}, rounds(1, 2), "fsync")
	templates := f.digests(t)
	for n := range cuts {
		d := f.start(t)
		slowest = max(slowest, f.allBack(t))
		f.bustle(t, r, n)
		rest(t, between(r, 100*time.Millisecond, 6*time.Second))
		noted := f.noteRecords(t)
		f.powerCut(t, disk, d)
		stores += f.mended(t, templates)
		if n%4 == 3 {
			// The power fails again while all comes back.
			d = f.start(t)
			rest(t, between(r, 300*time.Millisecond, 8*time.Second))
			f.powerCut(t, disk, d)
			stores += f.mended(t, templates)
			again++
		}
		d = f.start(t)
		slowest = max(slowest, f.allBack(t))
		looked += len(noted)
		lost += f.stillThere(t, noted)
		t.Logf("cut %d: %d stores, records %v", n, stores, noted)
		d.end(syscall.SIGTERM)
		if t.Failed() {
			t.Fatalf("after cut %d", n)
		}
	}
	if slowest > busyConverges {
		t.Errorf("the pods took %s to come back", slowest)
	}
	_ = os.Remove(filepath.Join(f.manifests, visitor))
	f.must(t, "apply", f.manifests, "--timeout", "4m")
	f.quiet(t)
	f.oneVMEach(t)
	f.ledgers(t)
	if err := f.cleanStores(); err != nil {
		t.Error(err)
	}
}
