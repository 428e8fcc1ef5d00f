//go:build linux

package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// dice returns randomness whose seed is printed, so that a failure can be looked at again:
// FIRKIN_SEED takes it.
func dice(t testing.TB) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("FIRKIN_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("FIRKIN_SEED: %v", err)
		}
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// between is a random time.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)))
}

// adopted waits until a daemon has looked at a pod: a label arrives without an action. It
// returns the time since the label was written.
func (f *fixture) adopted(t testing.TB, s *spec) time.Duration {
	t.Helper()
	want := fmt.Sprint(s.look)
	return within(t, converges, "the pod is adopted", func() bool {
		p := f.pods(t)[s.name]
		return p != nil && p.Metadata.Labels["look"] == want
	})
}

// TestRandomKill kills run with SIGKILL at random moments of random work.
func TestRandomKill(t *testing.T) {
	kills := rounds(3, 200)
	var slowest time.Duration
	extra, lost := 0, 0
	figure(t, "1", func() string {
		return fmt.Sprintf("%d kills: %d VMs lost, %d other containers touched; slowest re-adoption %s (at most 5s)", kills, lost, extra, slowest.Round(10*time.Millisecond))
	})
	f := borrow(t)
	r := dice(t)
	before := f.photograph(t)
	for n := range kills {
		s := f.specs[r.IntN(len(f.specs))]
		if n%10 == 0 {
			// What a label says arrives in the daemon's first look: that is the adoption.
			s.look++
			f.write(t, s)
			d := f.start(t)
			slowest = max(slowest, f.adopted(t, s))
			d.end(syscall.SIGKILL)
			continue
		}
		d := f.start(t)
		rest(t, between(r, 50*time.Millisecond, 1500*time.Millisecond))
		s.version++
		f.write(t, s)
		rest(t, between(r, 0, 1500*time.Millisecond))
		d.end(syscall.SIGKILL)
	}
	f.must(t, "apply", f.manifests, "--timeout", "3m")
	for _, d := range before.differences(f.photograph(t)) {
		switch {
		case strings.Contains(d, "/changing:"):
		case strings.Contains(d, "/"):
			extra++
			t.Errorf("touched: %s", d)
		default:
			lost++
			t.Errorf("the machine is another one: %s", d)
		}
	}
	if slowest > 5*time.Second {
		t.Errorf("re-adoption took %s, want at most 5s", slowest)
	}
}

// TestServiceRestart ends run in the ways a service manager does.
func TestServiceRestart(t *testing.T) {
	restarts := rounds(3, 50)
	figure(t, "4", func() string { return fmt.Sprintf("%d restarts by TERM and by KILL of the process group", restarts) })
	f := borrow(t)
	before := f.photograph(t)
	for n := range restarts {
		d := f.start(t)
		rest(t, time.Duration(100+20*n)*time.Millisecond)
		if n%2 == 0 {
			d.end(syscall.SIGTERM)
			if code := d.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("SIGTERM: exit %d", code)
			}
			continue
		}
		if err := syscall.Kill(-d.pid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		d.end(syscall.SIGKILL)
	}
	f.untouched(t, before)
}

// TestSecondReconciler races two reconcilers for one state directory.
func TestSecondReconciler(t *testing.T) {
	races := rounds(5, 100)
	owners := make(map[int]int)
	figure(t, "6", func() string { return fmt.Sprintf("%d races: owners per race %v (want always 1)", races, owners) })
	f := borrow(t)
	before := f.photograph(t)
	actions := f.actions(t)
	for range races {
		d := []*daemon{f.start(t), f.start(t)}
		ends := make(chan int, 2)
		var wg sync.WaitGroup
		for i := range d {
			wg.Go(func() {
				_ = d[i].cmd.Wait()
				ends <- d[i].cmd.ProcessState.ExitCode()
			})
		}
		alive := 2
		select {
		case code := <-ends:
			alive--
			if code != 4 {
				t.Errorf("the loser's exit code is %d, want 4", code)
			}
		case <-time.After(10 * time.Second):
		}
		select {
		case <-ends:
			alive--
		case <-time.After(50 * time.Millisecond):
		}
		owners[alive]++
		if alive != 1 {
			t.Errorf("%d owners", alive)
		}
		for i := range d {
			_ = d[i].cmd.Process.Signal(syscall.SIGTERM)
		}
		wg.Wait()
	}
	if n := f.actions(t) - actions; n != 0 {
		t.Errorf("%d actions", n)
	}
	f.untouched(t, before)
}

// TestOutputWhileDead has a container write 1 MB/s while no reconciler lives.
func TestOutputWhileDead(t *testing.T) {
	long(t)
	const dead = 60 * time.Second
	var stall string
	var lines, gaps int
	figure(t, "5", func() string {
		return fmt.Sprintf("%s without a reconciler: longest write %s (at most 1s), %d lines kept, %d gaps in them", dead, stall, lines, gaps)
	})
	f := newFixture(t, 1, "stdout")
	d := f.start(t)
	rest(t, 3*time.Second)
	d.end(syscall.SIGKILL)
	before := f.photograph(t)
	f.must(t, "exec", "p0", "-c", "steady", "--", "rm", "-f", "/d/steady.stall")
	rest(t, dead)
	f.untouched(t, before)
	stall = strings.TrimSpace(f.must(t, "exec", "p0", "-c", "steady", "--", "cat", "/d/steady.stall"))
	if took, err := time.ParseDuration(stall); err != nil || took > time.Second {
		t.Errorf("the longest write took %q", stall)
	}
	last := -1
	for line := range strings.Lines(f.must(t, "logs", "p0", "-c", "steady")) {
		var n int
		if _, err := fmt.Sscanf(line, "%d ", &n); err != nil {
			continue
		}
		if last >= 0 && n != last+1 {
			gaps++
		}
		last = n
		lines++
	}
	if lines == 0 {
		t.Error("no log is left")
	}
	if gaps > 0 {
		said := f.must(t, "logs", "p0", "-c", "steady", "--tail", "100000")
		if !strings.Contains(said, "lost") && !strings.Contains(said, "dropped") {
			t.Errorf("%d gaps in the log that nothing tells of", gaps)
		}
	}
}

// TestHostReboot ends every process at once, as a power cut does, and leaves the files.
func TestHostReboot(t *testing.T) {
	long(t)
	reboots := rounds(1, 6)
	var slowest time.Duration
	figure(t, "10", func() string {
		return fmt.Sprintf("%d reboots: slowest return of all pods %s (at most 60s), by no hand", reboots, slowest.Round(100*time.Millisecond))
	})
	f := newFixture(t, 2, "fsync")
	for range reboots {
		d := f.start(t)
		rest(t, 3*time.Second)
		d.end(syscall.SIGKILL)
		for _, p := range append(f.shims(), f.qemus()...) {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		within(t, 10*time.Second, "everything is dead", func() bool { return len(f.shims())+len(f.qemus()) == 0 })
		d = f.start(t)
		took := within(t, 2*busyConverges, "the pods are back", func() bool {
			pods := f.pods(t)
			return pods["p0"].runs() && pods["p1"].runs()
		})
		slowest = max(slowest, took)
		d.end(syscall.SIGTERM)
	}
	if slowest > 60*time.Second {
		t.Errorf("the pods took %s to come back", slowest)
	}
	f.must(t, "apply", f.manifests, "--timeout", "3m")
	f.oneVMEach(t)
	f.ledgers(t)
	if err := f.cleanStores(); err != nil {
		t.Error(err)
	}
}
