package qemu

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// A QEMU that was stopped for longer than its callers wait can be commanded afterwards.
func TestStoppedQEMUIsCommandedAgain(t *testing.T) {
	v := boot(t)
	disk := driver.Disk{ID: "i0123456789abcdef012", Path: filepath.Join(t.TempDir(), "disk"), ReadOnly: true}
	if err := os.WriteFile(disk.Path, make([]byte, 1<<20), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(v.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := v.monitor.run(ctx, "query-status", nil, nil); err == nil {
		t.Error("a stopped QEMU answers")
	}
	if err := syscall.Kill(v.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := v.AttachDisk(t.Context(), disk); err != nil {
		t.Fatal(err)
	}
	if err := v.DetachDisk(t.Context(), disk.ID); err != nil {
		t.Error(err)
	}
}
