//go:build linux

package faults

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// directoryFaults are ways in which the manifest directory is not what it should be.
// Each takes it away and returns how it comes back.
func directoryFaults(f *fixture, t *testing.T) map[string]func() (undo func()) {
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	aside := f.manifests + ".aside"
	back := func() {
		ok(os.Remove(f.manifests))
		ok(os.Rename(aside, f.manifests))
	}
	faults := map[string]func() func(){
		"renamed": func() func() {
			ok(os.Rename(f.manifests, aside))
			return func() { ok(os.Rename(aside, f.manifests)) }
		},
		"a file": func() func() {
			ok(os.Rename(f.manifests, aside))
			ok(os.WriteFile(f.manifests, nil, 0o644))
			return back
		},
		"a link to itself": func() func() {
			ok(os.Rename(f.manifests, aside))
			ok(os.Symlink(f.manifests, f.manifests))
			return back
		},
		"a link to nothing": func() func() {
			ok(os.Rename(f.manifests, aside))
			ok(os.Symlink(f.manifests+".nothing", f.manifests))
			return back
		},
		"another, empty": func() func() {
			ok(os.Rename(f.manifests, aside))
			ok(os.Mkdir(f.manifests, 0o755))
			return back
		},
		"unreadable": func() func() {
			ok(os.Chmod(f.manifests, 0))
			return func() { ok(os.Chmod(f.manifests, 0o755)) }
		},
		"files unreadable": func() func() {
			each := func(mode os.FileMode) {
				for _, s := range f.specs {
					ok(os.Chmod(filepath.Join(f.manifests, s.name+".yaml"), mode))
				}
			}
			each(0)
			return func() { each(0o644) }
		},
		"mounted over": func() func() {
			ok(syscall.Mount("faults", f.manifests, "tmpfs", 0, "size=64k"))
			return func() { ok(syscall.Unmount(f.manifests, syscall.MNT_DETACH)) }
		},
		"emptied": func() func() {
			ok(os.Mkdir(aside, 0o755))
			for _, s := range f.specs {
				ok(os.Rename(filepath.Join(f.manifests, s.name+".yaml"), filepath.Join(aside, s.name+".yaml")))
			}
			return func() {
				for _, s := range f.specs {
					ok(os.Rename(filepath.Join(aside, s.name+".yaml"), filepath.Join(f.manifests, s.name+".yaml")))
				}
				ok(os.Remove(aside))
			}
		},
		"files truncated": func() func() {
			for _, s := range f.specs {
				ok(os.Truncate(filepath.Join(f.manifests, s.name+".yaml"), 0))
			}
			return func() {
				for _, s := range f.specs {
					f.write(t, s)
				}
			}
		},
	}
	maps.Copy(faults, diskFaults(f, t))
	return faults
}

// diskFaults are those in which the disk below the manifest directory fails (EIO).
func diskFaults(f *fixture, t *testing.T) map[string]func() (undo func()) {
	faults := map[string]func() func(){
		"EIO of files": func() func() {
			v := f.newVolume(t, f.manifests, 4)
			for _, s := range f.specs {
				f.write(t, s)
			}
			v.die(t)
			return func() { v.unmount(t) }
		},
	}
	if _, err := os.Stat("/dev/fuse"); err == nil {
		faults["EIO"] = func() func() { return brokenDisk(t, f.manifests, false) }
		faults["EIO of a list"] = func() func() { return brokenDisk(t, f.manifests, true) }
	}
	return faults
}

// withoutOverride runs a program as root without root's right to read everything, so
// that modes count.
var withoutOverride = []string{"setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all", "--"}

// TestDirectoryFaults takes the manifest directory away in every way, while run watches it
// and while it is started: nothing is removed, and all goes on when it is back.
func TestDirectoryFaults(t *testing.T) {
	var f *fixture
	each, removals := rounds(1, 20), 0
	causes, told := 0, 0
	var slowest time.Duration
	figure(t, "24", func() string {
		return fmt.Sprintf("%d causes x %d: %d removals, %d causes told; a change after the last applied within %s (at most %s)", causes, each, removals, told, slowest.Round(100*time.Millisecond), converges)
	})
	f = borrow(t)
	f.prefix = withoutOverride
	defer func() { f.prefix = nil }()
	before, actions := f.photograph(t), f.actions(t)
	faults := directoryFaults(f, t)
	causes = len(faults)
	names := slices.Sorted(maps.Keys(faults))
	if !all() {
		names = slices.DeleteFunc(names, func(n string) bool { return n != "EIO of a list" && n != "emptied" && n != "renamed" })
		causes = len(names)
	}
	for _, name := range names {
		held := f.heldBack(t)
		d := f.start(t)
		rest(t, time.Second)
		for n := range each {
			undo := faults[name]()
			if n == each/2 {
				// It starts with the fault there.
				d.end(syscall.SIGKILL)
				d = f.start(t)
			}
			rest(t, 1200*time.Millisecond)
			undo()
			rest(t, time.Duration(100*(n%8))*time.Millisecond)
		}
		if n := f.actions(t) - actions; n != 0 {
			t.Errorf("%s: %d actions", name, n)
			actions += n
			removals += n
		}
		if f.heldBack(t) > held {
			told++
		} else {
			t.Errorf("%s: no event says that anything is held back", name)
		}
		f.specs[0].look++
		f.write(t, f.specs[0])
		slowest = max(slowest, f.adopted(t, f.specs[0]))
		d.small(t)
		d.end(syscall.SIGTERM)
	}
	f.untouched(t, before)
}

// heldBack counts the events that say that manifests are held back.
func (f *fixture) heldBack(t testing.TB) (n int) {
	t.Helper()
	for _, e := range f.events(t) {
		if e.Reason == "Held" {
			n += max(e.Count, 1)
		}
	}
	return n
}

// TestDuplicatesAndLeftovers puts files beside the manifests that editors, git and people leave.
func TestDuplicatesAndLeftovers(t *testing.T) {
	conflicts := 0
	figure(t, "30", func() string {
		return fmt.Sprintf("copies, leftovers of editors and second documents of running pods: 0 restarts wanted, %d conflicts told", conflicts)
	})
	long(t)
	f := borrow(t)
	before, actions := f.photograph(t), f.actions(t)
	other := spec{name: f.specs[0].name, version: 77, look: 5}
	d := f.start(t)
	rest(t, time.Second)
	for _, name := range []string{".p0.yaml.swp", "p0.yaml~", "p0.yaml.bak", "#p0.yaml#", "4913", ".#p0.yaml", "p0.yaml.orig", "p0.yaml.rej", "p0.yaml.tmp123"} {
		f.put(t, name, other.text())
		rest(t, 700*time.Millisecond)
	}
	if n := f.actions(t) - actions; n != 0 {
		t.Errorf("leftovers of editors: %d actions", n)
	}
	// The same pod twice: neither is taken, whatever the order of the files.
	for _, name := range []string{"a.yaml", "z.yaml"} {
		f.put(t, name, other.text())
		rest(t, 1500*time.Millisecond)
		if err := os.Remove(filepath.Join(f.manifests, name)); err != nil {
			t.Fatal(err)
		}
		rest(t, 700*time.Millisecond)
	}
	f.put(t, "two.yaml", "---\n"+other.text()+"---\n"+other.text())
	rest(t, 1500*time.Millisecond)
	conflicts = f.heldBack(t)
	d.end(syscall.SIGTERM)
	if n := f.actions(t) - actions; n != 0 {
		t.Errorf("%d actions", n)
	}
	f.untouched(t, before)
	f.restore(t)
}
