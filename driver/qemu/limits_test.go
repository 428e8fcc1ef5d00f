package qemu

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

func TestLimitsOf(t *testing.T) {
	dir := t.TempDir()
	large, image := filepath.Join(dir, "claim"), filepath.Join(dir, "image")
	for path, size := range map[string]int64{large: 20 << 30, image: 90 << 30} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
	spec := driver.Spec{CPUs: 2, MemoryBytes: 1 << 30, StoreBytes: 10 << 30}
	tcg, kvm := limitsOf(Facts{Accelerator: TCG}, spec), limitsOf(Facts{Accelerator: KVM}, spec)
	if want := (limits{
		addressSpace: 4<<30 + 32<<20, memory: 1536 << 20, fileBytes: 10 << 30, openFiles: 4096, threads: 130, cpus: 3,
	}); kvm != want {
		t.Errorf("KVM: %+v, want %+v", kvm, want)
	}
	if tcg.addressSpace != 6<<30+96<<20 || tcg.memory != 2112<<20 {
		t.Errorf("emulation: %+v", tcg)
	}

	// The largest file that it may write is the largest that it has to: disks that are only read are none.
	spec.Disks = []driver.Disk{{ID: "a", Path: large}, {ID: "b", Path: image, ReadOnly: true}, {ID: "c", Path: filepath.Join(dir, "gone")}}
	if got := limitsOf(Facts{}, spec).fileBytes; got != 20<<30 {
		t.Errorf("with disks: %d", got)
	}
	// A template's memory is a file, too.
	if got := limitsOf(Facts{}, driver.Spec{CPUs: 1, MemoryBytes: 1 << 30}).fileBytes; got != 1<<30 {
		t.Errorf("without a store: %d", got)
	}
}

func TestLimitFlags(t *testing.T) {
	l := limits{addressSpace: 3 << 30, fileBytes: 2 << 40, openFiles: 64, threads: 9}
	own := l.flags(true)
	for _, want := range []string{"--core=0:0", "--nofile=64:64", "--as=3221225472:3221225472", "--fsize=2199023255552:2199023255552", "--nproc=9:9"} {
		if !slices.Contains(own, want) {
			t.Errorf("no %s in %q", want, own)
		}
	}
	// A user's processes count together, and another user than root cannot raise a limit for a larger disk.
	shared := strings.Join(l.flags(false), " ")
	if strings.Contains(shared, "--nproc") || !strings.HasSuffix(shared, " --fsize=2199023255552:") {
		t.Errorf("without root: %s", shared)
	}
}
