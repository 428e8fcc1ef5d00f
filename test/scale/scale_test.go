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
	return took - settle
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

// changes is how many manifests are changed to measure how long it takes.
const changes = 300

// measure changes manifests of n one after the other and reports how long it took until their
// actions began, and what each costs with all that it causes.
func (f *fleet) measure(b *testing.B, n int) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	allocated, used := m.TotalAlloc, cpu(b)
	var took []time.Duration
	for k := range changes {
		took = append(took, f.change((k*7919)%n, k))
	}
	used = cpu(b) - used
	runtime.ReadMemStats(&m)
	slices.Sort(took)
	b.ReportMetric(milliseconds(took[changes/2]), "change-p50-ms")
	b.ReportMetric(milliseconds(took[changes*99/100-1]), "change-p99-ms")
	b.ReportMetric(milliseconds(took[changes-1]), "change-max-ms")
	b.ReportMetric(milliseconds(used)/changes, "change-cpu-ms")
	b.ReportMetric(float64(m.TotalAlloc-allocated)/changes/(1<<20), "change-alloc-MiB")
}

// A fleet is left alone for so long until it counts as at rest, and then to measure what it
// needs so.
const (
	calm = 15 * time.Second
	idle = time.Minute
)

// reportRest reports what is needed at rest.
func reportRest(b *testing.B) {
	time.Sleep(calm)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	allocated, used := m.TotalAlloc, cpu(b)
	time.Sleep(idle)
	b.ReportMetric(100*(cpu(b)-used).Seconds()/idle.Seconds(), "idle-%core")
	b.ReportMetric(float64(rss(b))/(1<<20), "rss-MiB")
	b.ReportMetric(float64(peak(b))/(1<<20), "peak-MiB") // of the whole run
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.TotalAlloc-allocated)/(1<<20), "idle-alloc-MiB")
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "live-MiB")
	b.ReportMetric(float64(m.StackInuse)/(1<<20), "stack-MiB")
	b.ReportMetric(0, "ns/op") // of no meaning: each benchmark is one run
}

// BenchmarkFleet takes a fleet of simulated pods from nothing to convergence, changes
// manifests one after the other, ends machines, and lets it rest. Run it once (-benchtime 1x).
func BenchmarkFleet(b *testing.B) {
	n := size(b, 10_000)
	f := newFleet(b, n)
	began, used := time.Now(), cpu(b)
	f.run()
	b.ReportMetric(time.Since(began).Seconds(), "converge-s")
	b.ReportMetric((cpu(b) - used).Seconds(), "converge-cpu-s")

	f.measure(b, n)

	var took []time.Duration
	for k := range 20 {
		took = append(took, f.kill((k*104729)%n))
	}
	slices.Sort(took)
	b.ReportMetric(milliseconds(took[10]), "death-p50-ms")
	reportRest(b)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// cpu is the processor time that this process has used.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rss is this process' resident memory in bytes, peak the most that it ever was.
func rss(tb testing.TB) int { return statusBytes(tb, "VmRSS:") }

func peak(tb testing.TB) int { return statusBytes(tb, "VmHWM:") }

// statusBytes is a size of /proc/self/status, 0 where there is none.
func statusBytes(tb testing.TB, name string) int {
	tb.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), name)
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		tb.Fatal(err)
	}
	return kib << 10
}
