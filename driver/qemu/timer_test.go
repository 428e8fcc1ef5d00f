package qemu

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// A guest whose timer does not work boots anew, a few times, and then ends its machine: one
// that went on would stop for good at the first thing that waits.
func TestGuestWithoutTimerEnds(t *testing.T) {
	if runtime.GOARCH != archAMD64 {
		t.Skip("only x86 kernels can be told to do without their timer")
	}
	binary, err := (Options{}).binary(archAMD64)
	if err != nil {
		t.Skip(err)
	}
	guest := bundle(t)
	// It may be run by a uid of its own.
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := filepath.Join(dir, "qemu")
	text := "#!/bin/bash\nexec " + binary + ` "${@/#console=ttyS0/console=ttyS0 nolapic_timer}"` + "\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	v := start(t, New(Options{CacheDir: t.TempDir(), Binary: script, Log: testr.New(t)}),
		driver.Spec{ID: testID, CPUs: 1, MemoryBytes: 256 << 20, Guest: guest})
	select {
	case <-v.Done():
	case <-time.After(2 * time.Minute):
		t.Fatal("the machine goes on")
	}
	if err := v.Err(); err == nil || !strings.Contains(err.Error(), "reset itself") {
		t.Errorf("it ended with %v", err)
	}
	if v.boots != mostResets {
		t.Errorf("it booted anew %d times, want %d", v.boots, mostResets)
	}
}
