package shim_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/drivertest"
	"github.com/firkin-dev/firkin-reconcile/driver/sim"
)

func TestConformanceShimSim(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		dir := shortDir(t)
		return drivertest.Harness{
			Driver: driverIn(t, dir),
			Reopen: func(t *testing.T) driver.Driver { return open(t, dir) },
			BreakGuest: func(_ *testing.T, spec *driver.Spec) {
				spec.Annotations[sim.FaultsAnnotation] = "Start=error(broken)"
			},
			Kill: func(t *testing.T, m driver.Machine) {
				if err := syscall.Kill(info(t, m).HolderPID, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			},
			Census: func(t *testing.T, prefix string) []string { return drivertest.Census(t, dir, prefix) },
		}
	})
}

// TestConformanceQEMU runs the suite on real VMs in real shim processes.
func TestConformanceQEMU(t *testing.T) {
	conformanceQEMU(t, bundle(t))
}

// TestConformanceQEMUArm64 runs it on VMs of the architecture of Apple's machines, which
// most hosts have to emulate.
func TestConformanceQEMUArm64(t *testing.T) {
	if runtime.GOARCH == "arm64" {
		t.Skip("the guests of TestConformanceQEMU are of this architecture")
	}
	if _, err := exec.LookPath("qemu-system-aarch64"); err != nil {
		missing(t, err)
	}
	conformanceQEMU(t, bundleIn(t, cmp.Or(os.Getenv("FIRKIN_GUEST_ARM64"), filepath.Join("..", "..", "build", "guest", "arm64"))))
}

func conformanceQEMU(t *testing.T, guest driver.Guest) {
	disk := templateFor(t, guest.Arch)
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		dir := shortDir(t)
		d := qemuDriver(t, dir)
		t.Cleanup(func() { _ = d.Close() })
		return drivertest.Harness{
			Driver:   d,
			Reopen:   func(t *testing.T) driver.Driver { return qemuDriver(t, dir) },
			Guest:    guest,
			Template: &disk,
			BreakGuest: func(_ *testing.T, spec *driver.Spec) {
				spec.Guest.Kernel += ".missing"
			},
			Kill: func(t *testing.T, m driver.Machine) {
				if err := syscall.Kill(info(t, m).VMMPID, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			},
			Census: func(t *testing.T, prefix string) []string { return drivertest.Census(t, dir, prefix) },
		}
	})
}
