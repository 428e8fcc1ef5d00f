//go:build linux

package faults

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// spareDescriptors is how many files a shim may have open beside those it had when it was
// first counted: calls that have not quite ended.
const spareDescriptors = 16

// counter counts what an oracle finds wrong.
type counter struct {
	testing.TB
	violations *int
}

func (c counter) Error(args ...any) {
	c.Helper()
	*c.violations++
	c.TB.Error(args...)
}

func (c counter) Errorf(format string, args ...any) {
	c.Helper()
	*c.violations++
	c.TB.Errorf(format, args...)
}

func (c counter) Fatal(args ...any) {
	c.Helper()
	*c.violations++
	c.TB.Fatal(args...)
}

func (c counter) Fatalf(format string, args ...any) {
	c.Helper()
	*c.violations++
	c.TB.Fatalf(format, args...)
}

// ask asks one oracle and counts its answer.
func (s *soak) ask(t testing.TB, name string, oracle func(t testing.TB)) {
	t.Helper()
	s.checks[name]++
	wrong := 0
	// Also when it ends the test.
	defer func() {
		if wrong > 0 {
			s.violations[name]++
		}
	}()
	oracle(counter{t, &wrong})
}

// check asks all oracles, once the last faults are healed.
func (s *soak) check(t testing.TB) {
	t.Helper()
	began := time.Now()
	s.ask(t, "convergence", s.settle)
	s.ask(t, "O1", func(t testing.TB) {
		s.oneVMEach(t)
		s.noOtherDeaths(t)
	})
	s.ask(t, "O2", func(t testing.TB) { s.ledgers(t) })
	s.ask(t, "O3", func(t testing.TB) {
		now := s.count()
		s.before.same(t, now)
		// Each leak counts once.
		s.before.mounts, s.before.loops = now.mounts, now.loops
		s.before.sockets, s.before.files = now.sockets, append(s.before.files, without(now.files, s.before.files)...)
		s.sameDescriptors(t)
	})
	s.ask(t, "O4", func(t testing.TB) {
		s.snapshotStores(t)
		s.records(t)
	})
	s.ask(t, "O5", func(t testing.TB) { s.quietTicks(t) })
	s.ask(t, "O6", func(t testing.TB) {
		s.peak = max(s.peak, s.d.small(t))
		s.shimPeak = max(s.shimPeak, s.smallShims(t))
	})
	t.Logf("%s: oracles asked in %s", time.Since(s.began).Round(time.Second), time.Since(began).Round(100*time.Millisecond))
}

// finish ends the reconciler and asks what only then can be asked.
func (s *soak) finish(t testing.TB) {
	t.Helper()
	s.stop(t, syscall.SIGTERM)
	s.ask(t, "O5", s.quiet)
	s.ask(t, "O4", func(t testing.TB) {
		if err := s.cleanStores(); err != nil {
			t.Error(err)
		}
	})
}

// settle waits until every pod runs as it should, also after a death and its back-off.
func (s *soak) settle(t testing.TB) {
	t.Helper()
	took := within(t, busyConverges+converges, "all is as the manifests say", func() bool {
		pods := s.pods(t)
		for _, p := range s.specs {
			if !pods[p.name].runs() {
				return false
			}
			diary := s.diary(t, p.name)
			if lastVersion(diary) != fmt.Sprint(p.version) || boots(diary) <= len(s.deaths[p.name]) {
				return false
			}
		}
		return true
	})
	s.converged = max(s.converged, took)
}

// boots is how often a pod's steady container was started: once in each boot of its VM.
func boots(diary []string) (n int) {
	for _, line := range diary {
		if strings.HasPrefix(line, "start steady ") {
			n++
		}
	}
	return n
}

// noOtherDeaths asserts that no VM was lost but those that were killed.
func (s *soak) noOtherDeaths(t testing.TB) {
	t.Helper()
	for _, p := range s.specs {
		if n := boots(s.diary(t, p.name)); n != 1+len(s.deaths[p.name]) {
			t.Errorf("O1: %s booted %d times, and was killed %d times", p.name, n, len(s.deaths[p.name]))
		}
	}
}

// sameDescriptors asserts that no shim has more and more files open.
func (s *soak) sameDescriptors(t testing.TB) {
	t.Helper()
	for _, p := range s.shims() {
		entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
		first, ok := s.descriptors[p.pid]
		if !ok {
			s.descriptors[p.pid] = len(entries)
		} else if len(entries) > first+spareDescriptors {
			t.Errorf("O3: the shim %s had %d files open, and has %d", p, first, len(entries))
		}
	}
}

// note remembers which records the pods said were on their disks.
func (s *soak) note(t testing.TB) {
	t.Helper()
	for _, p := range s.specs {
		s.onDisk[p.name] = max(s.onDisk[p.name], s.acknowledged(t, p.name))
	}
}

// records asserts that no record is lost that a pod said was on its disk.
func (s *soak) records(t testing.TB) {
	t.Helper()
	s.note(t)
	for _, p := range s.specs {
		n, err := s.newest(t, p.name)
		if err != nil {
			t.Errorf("O4: records of %s: %v", p.name, err)
		} else if n < s.onDisk[p.name] {
			t.Errorf("O4: %s said that record %d was on its disk, and the newest is %d", p.name, s.onDisk[p.name], n)
		}
	}
}

// newest is the newest record on a pod's disk, -1 with the reason if it cannot be asked
// or an earlier one is lost.
func (s *soak) newest(t testing.TB, pod string) (int, error) {
	t.Helper()
	out := s.try(t.Context(), "exec", pod, "-c", "steady", "--", "/ledger", "newest", "/d", "steady")
	var n int
	if _, err := fmt.Sscan(out.stdout, &n); err != nil || out.code != 0 {
		return -1, fmt.Errorf("exit %d: %.300s", out.code, out.stderr)
	}
	return n, nil
}
