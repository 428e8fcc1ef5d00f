package qemu

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// withoutSeccomp is what a QEMU that was built without seccomp does: it starts, unless it is
// asked to confine itself.
const withoutSeccomp = `#!/bin/sh
for word; do
	test "$word" != -sandbox || { echo "qemu: -sandbox support is not enabled in this QEMU binary" >&2; exit 1; }
done
exec sleep 60
`

// TestNoStartWithoutSandbox asks a QEMU to run a machine that cannot filter its own system calls.
func TestNoStartWithoutSandbox(t *testing.T) {
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip(err)
	}
	// Not t.TempDir, which is closed to the uid that QEMU gets.
	dir, err := os.MkdirTemp("", "qemu")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	program, kernel := filepath.Join(dir, "qemu"), filepath.Join(dir, "kernel")
	for _, err := range []error{
		os.Chmod(dir, 0o755), os.WriteFile(program, []byte(withoutSeccomp), 0o755), os.WriteFile(kernel, nil, 0o600),
		os.WriteFile(filepath.Join(dir, storeFile), make([]byte, 1<<20), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	facts := Facts{Arch: archAMD64, Binary: program, Setpriv: setpriv, Accelerator: TCG}
	spec := driver.Spec{ID: testID, CPUs: 1, MemoryBytes: 128 << 20, Guest: driver.Guest{Kernel: kernel, Initrd: kernel}}
	vm, err := launch(ctx, facts, spec, dir, origin{}, testr.New(t))
	if err == nil {
		_ = vm.Kill()
		<-vm.Done()
		t.Fatal("a machine runs without a filter")
	}
	if !strings.Contains(err.Error(), "-sandbox support is not enabled") {
		t.Errorf("it does not say why: %v", err)
	}
	if c := sandbox(ctx, program); c.OK || !c.Fatal || !strings.Contains(c.Detail, "no -sandbox") {
		t.Errorf("doctor says %+v", c)
	}
}

// TestUntrustedIsNotEmulated: the mark holds whatever became of the manifest that bore it.
func TestUntrustedIsNotEmulated(t *testing.T) {
	v := New(Options{Log: testr.New(t)})
	v.facts = &Facts{Arch: archAMD64, Accelerator: TCG, Why: "there is no /dev/kvm"}
	spec := driver.Spec{ID: testID, CPUs: 1, MemoryBytes: 128 << 20, Guest: driver.Guest{Arch: archAMD64}, Untrusted: true}
	vm, err := v.Start(t.Context(), spec, t.TempDir(), nil)
	if !errors.Is(err, driver.ErrUnsupported) || !strings.Contains(err.Error(), "marked untrusted") {
		t.Errorf("it is started: %v, %v", vm, err)
	}
}

// TestEmulationPromisesNoIsolation: whoever asks is told that emulated VMs are no boundary.
func TestEmulationPromisesNoIsolation(t *testing.T) {
	c := accelerator(Facts{Accelerator: TCG, Why: "there is no /dev/kvm"})
	if c.OK || !strings.Contains(c.Detail, "no isolation guarantee") || !strings.Contains(c.Remedy, "no security boundary") {
		t.Errorf("emulation: %+v", c)
	}
	if c := accelerator(Facts{Accelerator: KVM, Why: "it ran something"}); !c.OK || strings.Contains(c.Detail, "no isolation") || c.Remedy != "" {
		t.Errorf("KVM: %+v", c)
	}
}
