package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// holdWarm makes the template that all pods of podOf are copied from, and leaves one pod
// that holds it in memory.
func (h *host) holdWarm() {
	h.t.Helper()
	dir := filepath.Join(filepath.Dir(h.manifests), "warm")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	text := strings.ReplaceAll(podOf("warm"), "$BUSYBOX", "oci:"+filepath.Join(built.images, "busybox"))
	if err := os.WriteFile(filepath.Join(dir, "warm.yaml"), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
	settle(h.t, filepath.Join(dir, "warm.yaml"))
	h.must("apply", dir)
	h.within(3*time.Minute, "a template is made", func() bool {
		made, err := filepath.Glob(filepath.Join(h.state, "cache", "templates", "*", "template.json"))
		return err == nil && len(made) > 0
	})
	h.must("delete", "--all")
	h.must("apply", dir)
}

// TestCopiesAreNotOne has two pods that are copies of one VM, which must share nothing that
// is random or unique.
func TestCopiesAreNotOne(t *testing.T) {
	h := newHost(t)
	h.holdWarm()
	for _, name := range []string{"one", "two"} {
		h.write(name+".yaml", podOf(name))
	}
	h.must("apply", h.manifests)
	for what, script := range map[string]string{
		"random numbers": "head -c 16 /dev/urandom | od -An -tx1",
		"boot id":        "cat /proc/sys/kernel/random/boot_id",
		"host name":      "hostname",
		"MAC address":    "cat /sys/class/net/eth0/address",
		"stack address":  "grep stack /proc/self/maps",
	} {
		one, two := h.sh("one", "left", script), h.sh("two", "left", script)
		if one == two || strings.TrimSpace(one) == "" {
			t.Errorf("%s of two copies: %q and %q", what, one, two)
		}
	}
	if one, two := h.get("one").Status.Firkin.BootID, h.get("two").Status.Firkin.BootID; one == two {
		t.Errorf("both copies say boot %q", one)
	}
}

// BenchmarkApplyFromTemplate is BenchmarkApply with a template that a running pod holds in
// memory.
func BenchmarkApplyFromTemplate(b *testing.B) {
	h := newHost(b)
	h.holdWarm()
	h.write("p.yaml", podOf("p"))
	settle(b, filepath.Join(h.manifests, "p.yaml"))
	for b.Loop() {
		h.must("apply", h.manifests)
		b.StopTimer()
		h.must("delete", "p")
		b.StartTimer()
	}
}

// BenchmarkIdlePods reports the memory of one of ten idle pods that are copies of one VM:
// the proportional set sizes of its QEMU and its shim, in MiB.
func BenchmarkIdlePods(b *testing.B) {
	h := newHost(b)
	h.holdWarm()
	const pods = 9 // and the one that holds the template
	for i := range pods {
		h.write(fmt.Sprintf("p%d.yaml", i), podOf(fmt.Sprintf("p%d", i)))
	}
	h.must("apply", h.manifests)
	for b.Loop() {
		b.ReportMetric(float64(h.pss("qemu-system"))/(pods+1)/(1<<20), "qemu-MiB")
		b.ReportMetric(float64(h.pss("firkin-reconcile"))/(pods+1)/(1<<20), "shim-MiB")
	}
}
