//go:build linux

package faults

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// restart kills the reconciler and starts the next one.
func (s *soak) restart(t testing.TB) {
	t.Helper()
	s.stop(t, syscall.SIGKILL)
	s.d = s.launch(t)
}

// stop ends the reconciler, which must have lived until now.
func (s *soak) stop(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if zombie(s.d.pid()) {
		t.Errorf("run ended by itself: %.4000s", s.d.said)
	}
	s.peak = max(s.peak, status(s.d.pid(), "VmHWM")>>10)
	s.d.end(sig)
	if strings.Contains(s.d.said.String(), "goroutine ") {
		t.Errorf("run crashed: %.4000s", s.d.said)
	}
}

// meanwhile has a reconciler be killed in the middle of another fault, half of the times.
func (s *soak) meanwhile(t testing.TB) {
	t.Helper()
	if s.r.IntN(2) == 0 {
		s.restart(t)
		s.faults[kinds()[0].name]++
	}
}

// killReconciler kills it in the middle of work, a few times, and has the last one tell
// how long it takes to look at a pod.
func (s *soak) killReconciler(t testing.TB) int {
	t.Helper()
	kills := 1 + s.r.IntN(4)
	for range kills {
		rest(t, between(s.r, 50*time.Millisecond, 1500*time.Millisecond))
		s.specs[s.r.IntN(len(s.specs))].version++
		s.publish(t)
		rest(t, between(s.r, 0, 1500*time.Millisecond))
		s.restart(t)
	}
	pods := s.pods(t)
	for _, p := range s.specs {
		if pods[p.name].runs() {
			p.look++
			s.publish(t)
			s.adoption = max(s.adoption, s.adopted(t, p))
			break
		}
	}
	return kills
}

// killVMM kills the VMM of a pod whose back-off has not grown: one that was killed at most
// once since a run that makes it forgotten.
func (s *soak) killVMM(t testing.TB) int {
	t.Helper()
	s.settle(t)
	victim := s.specs[s.r.IntN(len(s.specs))].name
	recent := 0
	for _, at := range s.deaths[victim] {
		if time.Since(at) < 13*time.Minute {
			recent++
		}
	}
	if recent > 1 {
		return 0
	}
	s.note(t)
	s.kill(t, s.qemus(), victim, syscall.SIGKILL)
	s.deaths[victim] = append(s.deaths[victim], time.Now())
	s.noticed = max(s.noticed, within(t, converges, "the death is noticed", func() bool { return !s.pods(t)[victim].runs() }))
	s.meanwhile(t)
	return 1
}

// cut cuts the links of all pods while commands use them.
func (s *soak) cut(t testing.TB) (cuts int) {
	t.Helper()
	s.settle(t)
	sum := s.underLoad(t, func() {
		cuts = s.cutLinks(t, s.r, 2+s.r.IntN(6))
		s.meanwhile(t)
		cuts += s.cutLinks(t, s.r, 2+s.r.IntN(6))
	})
	s.command = max(s.command, sum.worst)
	return cuts
}

// halfWrite writes a running pod's manifest slowly, or leaves a part of it; nothing may
// come of that.
func (s *soak) halfWrite(t testing.TB) (times int) {
	t.Helper()
	s.settle(t)
	before := s.photograph(t)
	p := s.specs[s.r.IntN(len(s.specs))]
	path, text := filepath.Join(s.manifests, p.name+".yaml"), p.text()
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if s.r.IntN(3) == 0 {
		writeSlowly(t, path, text, between(s.r, time.Millisecond, 5*time.Millisecond))
		times++
	}
	for range 1 + s.r.IntN(4) {
		part := text[:s.r.IntN(len(text))]
		if s.validates(t, part) {
			continue // nobody can tell it from a wish
		}
		put(part)
		times++
		s.meanwhile(t)
		rest(t, between(s.r, 100*time.Millisecond, 1500*time.Millisecond))
	}
	put(text)
	rest(t, 1500*time.Millisecond)
	s.untouched(t, before)
	return times
}

// swap puts one revision after the other in place.
func (s *soak) swap(t testing.TB) int {
	t.Helper()
	swaps := 10 + s.r.IntN(90)
	middle := s.r.IntN(swaps)
	for n := range swaps {
		for _, p := range s.specs {
			p.version++
		}
		s.publish(t)
		if n == middle {
			s.meanwhile(t)
		}
		rest(t, between(s.r, time.Millisecond, 50*time.Millisecond))
	}
	return swaps
}

// fillDisk leaves no byte to the stores and to the state.
func (s *soak) fillDisk(t testing.TB) int {
	t.Helper()
	s.settle(t)
	s.note(t)
	free := s.fill(t)
	rest(t, between(s.r, time.Second, 4*time.Second))
	s.meanwhile(t)
	rest(t, between(s.r, time.Second, 4*time.Second))
	free()
	s.resumed = max(s.resumed, within(t, converges, "the pods write again", func() bool {
		for _, p := range s.specs {
			if n, _ := s.newest(t, p.name); n <= s.onDisk[p.name]+1 {
				return false
			}
		}
		return true
	}))
	return 1
}
