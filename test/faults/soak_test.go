//go:build linux

package faults

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// soakPods is how many pods a soak has.
	soakPods = 3
	// soakState is the size of its state directory's file system, in MiB: small, to be filled.
	soakState = 256
	// checkEvery is how long faults come one after the other before the oracles are asked.
	checkEvery = time.Minute
	// reportEvery is how often the counts are printed.
	reportEvery = 10 * time.Minute
)

// soak is a host that has one fault after the other, with one reconciler after the other.
type soak struct {
	*fixture
	r     *rand.Rand
	began time.Time
	d     *daemon
	// faults counts the faults by kind, checks and violations the oracles by name.
	faults, checks, violations map[string]int
	// deaths are when each pod's VM was killed.
	deaths map[string][]time.Time
	// onDisk is the newest record that each pod said was on its disk.
	onDisk map[string]int
	// descriptors are how many files each shim had open when it was first counted.
	descriptors map[int]int
	// The slowest of each, and the most of memory in MiB.
	adoption, noticed, converged, resumed, command time.Duration
	peak, shimPeak                                 int
}

// kind is a kind of fault. Its rows are those of the list of faults.
type kind struct {
	row, name string
	// inject does it and returns how many faults that was, 0 if there is no occasion.
	inject func(s *soak, t testing.TB) int
}

func kinds() []kind {
	return []kind{
		{"1", "reconciler killed", (*soak).killReconciler},
		{"11", "QEMU killed", (*soak).killVMM},
		{"18", "links cut under load", (*soak).cut},
		{"25", "manifests half written", (*soak).halfWrite},
		{"27", "..data swapped", (*soak).swap},
		{"34", "disk full", (*soak).fillDisk},
	}
}

// TestSoak mixes faults at random for as long as FIRKIN_SOAK says (make soak), and asks
// the oracles every minute.
func TestSoak(t *testing.T) {
	var s *soak
	figure(t, "soak", func() string {
		if s == nil {
			return "not begun"
		}
		return s.String()
	})
	text := os.Getenv("FIRKIN_SOAK")
	if text == "" {
		t.Skip("it takes as long as FIRKIN_SOAK says, and that says nothing: make soak DURATION=30m runs it")
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("FIRKIN_SOAK: %v", err)
	}
	s = newSoak(t)
	reported := time.Now()
	for end := s.began.Add(length); time.Now().Before(end); {
		s.mix(t, min(checkEvery, time.Until(end)))
		s.check(t)
		if time.Since(reported) >= reportEvery {
			t.Log(s)
			reported = time.Now()
		}
	}
	s.finish(t)
}

// newSoak returns a soak whose pods run, write and are watched by a reconciler.
func newSoak(t *testing.T) *soak {
	t.Helper()
	h := newHost(t)
	h.smallState(t, soakState)
	s := &soak{
		fixture: &fixture{host: h, linked: true},
		r:       dice(t), began: time.Now(),
		faults: make(map[string]int), checks: make(map[string]int), violations: make(map[string]int),
		deaths: make(map[string][]time.Time), onDisk: make(map[string]int), descriptors: make(map[int]int),
	}
	populate(t, s.fixture, soakPods, "ring")
	s.d = s.launch(t)
	t.Cleanup(func() {
		s.d.end(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("the last run said:\n%.4000s", s.d.said)
		}
	})
	s.settle(t)
	s.before = s.count()
	for _, p := range s.specs {
		// What is remembered of a pod's deaths, for its back-off, is no leak.
		s.before.files = append(s.before.files, filepath.Join("failures", "default_"+p.name+".json"))
	}
	return s
}

// mix injects faults of random kinds for a while.
func (s *soak) mix(t testing.TB, length time.Duration) {
	t.Helper()
	list := kinds()
	for end := time.Now().Add(length); time.Now().Before(end); {
		k := list[s.r.IntN(len(list))]
		began := time.Now()
		n := k.inject(s, t)
		if n > 0 {
			t.Logf("%s: %s: %d in %s", time.Since(s.began).Round(time.Second), k.name, n, time.Since(began).Round(100*time.Millisecond))
		}
		s.faults[k.name] += n
		rest(t, between(s.r, 0, time.Second))
	}
}

// String is the counts.
func (s *soak) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of mixed faults:", time.Since(s.began).Round(time.Second))
	for _, k := range kinds() {
		fmt.Fprintf(&b, " %d %s (#%s),", s.faults[k.name], k.name, k.row)
	}
	b.WriteString(" violations of checks:")
	for _, name := range slices.Sorted(maps.Keys(s.checks)) {
		fmt.Fprintf(&b, " %s %d of %d,", name, s.violations[name], s.checks[name])
	}
	ms := func(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
	fmt.Fprintf(&b, " slowest: re-adoption %s, death noticed %s, converged %s, writing after a full disk %s, command over cut links %s;",
		ms(s.adoption), ms(s.noticed), ms(s.converged), ms(s.resumed), ms(s.command))
	fmt.Fprintf(&b, " most memory: run %d MiB, shim %d MiB", s.peak, s.shimPeak)
	return b.String()
}
