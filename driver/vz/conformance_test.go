package vz

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/go-logr/logr/testr"
	"go.uber.org/goleak"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/drivertest"
	"github.com/firkin-dev/firkin-reconcile/driver/shim"
)

// TestMain lets the test binary be the shim process of the machines it makes.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "shim" && os.Args[2] == "--dir" {
		syscall.Exit(shimMain(os.Args[3]))
	}
	goleak.VerifyTestMain(m)
}

func shimMain(dir string) int {
	log := funcr.New(func(prefix, args string) { fmt.Fprintln(os.Stderr, prefix, args) }, funcr.Options{Verbosity: 1})
	vmm := newVMM(Options{Log: log}, fake{mac: mac(), log: log})
	if err := shim.Serve(context.Background(), shim.ServeOptions{VMM: vmm, Dir: dir, Log: log}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestConformanceVZ runs the suite through this driver's own logic and real shim
// processes; only the framework below is a fake, whose guests are simulated.
func TestConformanceVZ(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		root, err := os.MkdirTemp("", "vz")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(root) })
		dir := filepath.Join(root, "m")
		d := open(t, dir)
		t.Cleanup(func() { _ = d.Close() })
		return drivertest.Harness{
			Driver:     d,
			Reopen:     func(t *testing.T) driver.Driver { return open(t, dir) },
			Guest:      driver.Guest{Kernel: "vmlinux", Initrd: "initrd.img"},
			BreakGuest: func(_ *testing.T, spec *driver.Spec) { spec.Guest.Kernel += ".missing" },
			Kill: func(t *testing.T, m driver.Machine) {
				info, err := m.Info(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := syscall.Kill(info.HolderPID, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			},
			Census: func(t *testing.T, prefix string) []string { return drivertest.Census(t, dir, prefix) },
		}
	})
}

func open(t *testing.T, dir string) *shim.Driver {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := shim.NewDriver(shim.Options{
		Dir: dir, Command: []string{exe, "shim"}, Log: testr.New(t),
		Format: func(context.Context, string, int64) error { return nil }, // a simulated guest needs none
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}
