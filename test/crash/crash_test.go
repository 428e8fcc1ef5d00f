//go:build linux

package crash

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	busybox = "/bin/busybox"
	// rounds is how often every point is done.
	rounds = 3
	// deathLimit is how long a process may take to get to its point.
	deathLimit = 90 * time.Second
)

// all says that every point is done.
func all() bool { return os.Getenv("FIRKIN_CRASH") == "all" }

// few are done by a plain run: one of a state file, one of a call to a guest.
func few() []string { return []string{"actual/containerAdded", "driver/shim/layRecorded"} }

// needVMs skips where real VMs cannot run, unless the caller said that they must. It
// returns the guest bundle.
func needVMs(t *testing.T) string {
	t.Helper()
	guest := os.Getenv("FIRKIN_GUEST")
	if guest == "" {
		root, err := filepath.Abs("../..")
		if err != nil {
			t.Fatal(err)
		}
		guest = filepath.Join(root, "build", "guest", runtime.GOARCH)
	}
	problem := ""
	if _, err := os.Stat(filepath.Join(guest, "manifest.json")); err != nil {
		problem = "no guest bundle: run make guest"
	} else if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		problem = "no QEMU: run make deps"
	} else if _, err := os.Stat(busybox); err != nil {
		problem = "no " + busybox + ": run make deps"
	}
	switch {
	case problem == "":
	case all() || os.Getenv("FIRKIN_REQUIRE_VMS") != "":
		t.Fatal(problem)
	default:
		t.Skip(problem)
	}
	return guest
}

// TestCrashPoints kills the reconciler at every point.
func TestCrashPoints(t *testing.T) {
	guest := needVMs(t)
	binary, points := program(t)
	known := reaches()
	for _, p := range points {
		if known[p] == "" {
			t.Errorf("no step reaches point %s", p)
		}
	}
	for p := range known {
		if !slices.Contains(points, p) {
			t.Errorf("the source has no point %s", p)
		}
	}
	if t.Failed() {
		return
	}
	times := 1
	if all() {
		times = rounds
	} else {
		points = few()
	}
	if only := os.Getenv("FIRKIN_CRASH_POINTS"); only != "" {
		points = strings.Fields(only)
	}
	k := &killer{binary: binary, guest: guest}
	defer k.end(t)
	for round := range times {
		k.round = round
		k.doAll(t, points)
		t.Logf("%d points, round %d: %d deaths of %d so far", len(points), round+1, k.hits, len(points)*(round+1))
	}
}

// killer goes from point to point in one world, as booting VMs is most of the time.
type killer struct {
	binary, guest string
	round, hits   int
	w             *world
}

// doAll does the points in the order that needs the fewest boots.
func (k *killer) doAll(t *testing.T, points []string) {
	list, known, steps := slices.Clone(points), reaches(), steps()
	for len(list) > 0 {
		next := max(0, slices.IndexFunc(list, func(p string) bool {
			return k.w == nil || steps[known[p]].absent != k.w.present
		}))
		point := list[next]
		list = slices.Delete(list, next, next+1)
		if !t.Run(point, func(t *testing.T) { k.do(t, point, steps[known[point]]) }) && k.w != nil {
			// Whatever is wrong with this world is not held against the next point.
			if err := k.w.end(); err != nil {
				t.Log(err)
			}
			k.w = nil
		}
	}
}

func (k *killer) do(t *testing.T, point string, s step) {
	if k.w == nil {
		k.w = newWorld(t, k.binary, k.guest)
	}
	w := k.w
	if s.absent == w.present {
		if s.absent {
			w.drop(t)
		} else {
			w.write(t)
		}
		w.apply(t)
	}
	s.prepare(t, w)
	before := ""
	if s.keeps {
		before = w.steady(t)
	}
	s.change(t, w)
	k.kill(t, point, s.command)
	s.undo(t, w)
	w.apply(t)
	w.oracles(t)
	if s.keeps {
		if after := w.steady(t); after != before {
			t.Errorf("O2: a container that nothing was asked of was touched: %q -> %q", before, after)
		}
	}
}

// kill has a process die at the point.
func (k *killer) kill(t *testing.T, point string, command []string) {
	t.Helper()
	switch {
	case command != nil:
	case k.round%2 == 0:
		command = []string{"apply", k.w.manifests, "--timeout", "1m"}
	default:
		command = []string{"run", k.w.manifests}
	}
	ctx, cancel := context.WithTimeout(t.Context(), deathLimit)
	defer cancel()
	out, err := k.w.try(ctx, point, command...)
	if err != nil {
		t.Fatal(err)
	}
	if out.signal != syscall.SIGKILL || !strings.Contains(out.stderr, marker) {
		t.Fatalf("%s did not die at the point: exit %d\n%s%s", command[0], out.code, out.stdout, out.stderr)
	}
	k.hits++
}

func (k *killer) end(t *testing.T) {
	if k.w == nil {
		return
	}
	if err := k.w.end(); err != nil {
		t.Error(err)
	}
}
