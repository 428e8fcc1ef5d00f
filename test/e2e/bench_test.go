package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// podOf is a pod of two containers and an emptyDir.
func podOf(name string) string {
	return strings.Replace(twoContainers, "{name: pair}", "{name: "+name+"}", 1)
}

// BenchmarkApply is the time from the start of `apply` to all containers running.
func BenchmarkApply(b *testing.B) {
	for _, pods := range []int{1, 5} {
		b.Run(fmt.Sprintf("pods=%d", pods), func(b *testing.B) {
			h := newHost(b)
			for i := range pods {
				h.write(fmt.Sprintf("p%d.yaml", i), podOf(fmt.Sprintf("p%d", i)))
			}
			h.must("apply", h.manifests) // images are made once
			for b.Loop() {
				b.StopTimer()
				h.must("delete", "--all")
				b.StartTimer()
				h.must("apply", h.manifests)
			}
		})
	}
}

// BenchmarkDelete is the time of `delete --all` for five pods.
func BenchmarkDelete(b *testing.B) {
	h := newHost(b)
	for i := range 5 {
		h.write(fmt.Sprintf("p%d.yaml", i), podOf(fmt.Sprintf("p%d", i)))
	}
	for b.Loop() {
		b.StopTimer()
		h.must("apply", h.manifests)
		b.StartTimer()
		h.must("delete", "--all")
	}
}

// BenchmarkSecondApply is the time of an `apply` that finds nothing to do, for five pods.
func BenchmarkSecondApply(b *testing.B) {
	h := newHost(b)
	for i := range 5 {
		h.write(fmt.Sprintf("p%d.yaml", i), podOf(fmt.Sprintf("p%d", i)))
	}
	h.must("apply", h.manifests)
	for b.Loop() {
		h.must("apply", h.manifests)
	}
}

// BenchmarkReplaceContainer is the time of an `apply` that replaces one container in its
// running VM; its process ends at once when told to. replacing-ms is from the beginning of
// the old one's removal until the new one runs, which is what `run` needs too.
func BenchmarkReplaceContainer(b *testing.B) {
	h := newHost(b)
	manifest := strings.Replace(podOf("p"), "exec sleep 1000000", "trap 'exit 0' TERM; while :; do sleep 1000 \\u0026 wait; done", 1)
	n := 0
	write := func() {
		n++
		h.write("p.yaml", strings.Replace(manifest, "echo left", fmt.Sprintf("echo left%d", n), 1))
		settle(b, filepath.Join(h.manifests, "p.yaml"))
	}
	write()
	h.must("apply", h.manifests)
	var replacing []float64
	for b.Loop() {
		b.StopTimer()
		write()
		b.StartTimer()
		actions := h.apply().Actions
		if len(actions) != 2 {
			b.Fatalf("actions %v", actions)
		}
		last := actions[1]
		replacing = append(replacing, last.Start.Sub(actions[0].Start).Seconds()+last.Duration)
	}
	slices.Sort(replacing)
	b.ReportMetric(1000*replacing[len(replacing)/2], "replacing-ms")
}

// settle waits until a file has stood for as long as apply wants it to; that wait is the
// user's typing time, not the tool's.
func settle(tb testing.TB, path string) {
	tb.Helper()
	info, err := os.Stat(path)
	if err != nil {
		tb.Fatal(err)
	}
	time.Sleep(time.Until(info.ModTime().Add(600 * time.Millisecond)))
}

// BenchmarkIdlePod reports the memory of one idle pod on the host: the proportional set
// sizes of its QEMU and its shim, in MiB.
func BenchmarkIdlePod(b *testing.B) {
	h := newHost(b)
	h.write("p.yaml", podOf("p"))
	h.must("apply", h.manifests)
	for b.Loop() {
		b.ReportMetric(float64(h.pss("qemu-system"))/(1<<20), "qemu-MiB")
		b.ReportMetric(float64(h.pss("firkin-reconcile"))/(1<<20), "shim-MiB")
	}
}

// pss adds up the proportional set sizes of the host's processes of that program.
func (h *host) pss(program string) int64 {
	h.t.Helper()
	var total int64
	for _, pid := range h.processesOf(program) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			h.t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
				kib, err := strconv.ParseInt(f[1], 10, 64)
				if err != nil {
					h.t.Fatal(err)
				}
				total += kib << 10
			}
		}
	}
	return total
}
