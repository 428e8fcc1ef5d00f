package scale

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFleet: a small fleet converges, and a change of one manifest and a death of one machine
// lead to actions.
func TestFleet(t *testing.T) {
	f := newFleet(t, size(t, 50))
	f.run()
	f.change(7, 1)
	f.kill(3)
}

// change changes a manifest and returns how long it took from then, less what manifests take
// to settle, until the first action on its pod.
func (f *fleet) change(i, version int) time.Duration {
	f.tb.Helper()
	f.seen.await(ref(i))
	began := time.Now()
	f.write(i, fmt.Sprint("v", version+1))
	took := (<-f.seen.started).Sub(began)
	f.seen.rest(f.tb)
	return took - settle - settle/10
}

// kill ends a machine and returns how long it took until the first action on its pod.
func (f *fleet) kill(i int) time.Duration {
	f.tb.Helper()
	seen, err := f.actual.Pods(f.tb.Context())
	if err != nil {
		f.tb.Fatal(err)
	}
	for _, p := range seen.Pods {
		if p.Ref != ref(i) {
			continue
		}
		f.seen.await(p.Ref)
		began := time.Now()
		if err := f.world.Kill(p.UID); err != nil {
			f.tb.Fatal(err)
		}
		took := (<-f.seen.started).Sub(began)
		f.seen.rest(f.tb)
		return took
	}
	f.tb.Fatalf("no pod %s", ref(i))
	return 0
}

// measure changes so many of n manifests one after the other and logs how long it took.
func (f *fleet) measure(n, changes int) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	allocated, used := m.TotalAlloc, cpu(f.tb)
	var took []time.Duration
	for k := range changes {
		took = append(took, f.change((k*7919)%n, k))
	}
	runtime.ReadMemStats(&m)
	slices.Sort(took)
	f.tb.Logf("a changed file to its action: p50 %s, p99 %s, most %s; %d KiB and %s of CPU each, with what the action causes",
		took[changes/2], took[changes*99/100], took[changes-1], (m.TotalAlloc-allocated)/uint64(changes)>>10, (cpu(f.tb)-used)/time.Duration(changes))
}

// BenchmarkFleet takes a fleet of simulated pods from nothing to convergence, changes
// manifests one after the other, and lets it rest.
func BenchmarkFleet(b *testing.B) {
	n := size(b, 10_000)
	f := newFleet(b, n)
	began, used := time.Now(), cpu(b)
	f.run()
	b.Logf("%d pods: converged in %.1f s, %.1f s of CPU", n, time.Since(began).Seconds(), (cpu(b) - used).Seconds())
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.Logf("heap %d MiB, stacks %d MiB, %d goroutines, RSS %d MiB", m.HeapInuse>>20, m.StackInuse>>20, runtime.NumGoroutine(), rss(b)>>20)

	f.measure(n, 100)

	var took []time.Duration
	for k := range 20 {
		took = append(took, f.kill((k*104729)%n))
	}
	slices.Sort(took)
	b.Logf("a machine that died to its action: p50 %s, most %s", took[10], took[19])

	const idle = time.Minute
	used = cpu(b)
	time.Sleep(idle)
	b.Logf("idle: %.2f%% of a core", 100*(cpu(b)-used).Seconds()/idle.Seconds())
}

// cpu is the processor time that this process has used.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rss is this process' resident memory in bytes, 0 where it cannot be told.
func rss(tb testing.TB) int {
	tb.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		tb.Fatal(err)
	}
	return pages * os.Getpagesize()
}
