package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// trialTimeout bounds the probe: where virtualisation works, the kernel is through in under a second.
const trialTimeout = 5 * time.Second

// hardware is what may run guests on this host without emulating them.
type hardware struct {
	// accelerator is KVM or HVF.
	accelerator string
	// missing says why it cannot even be tried, "" when it can.
	missing string
}

// chooseAccelerator decides between the host's hardware and TCG and says why. That /dev/kvm can be
// opened says little: a nested, paravirtual-only KVM opens, even runs a few instructions, and
// then aborts or hangs. So the guest's own kernel is booted, confined as machines are,
// and only its word on the console counts.
//
// An error means that the question is open: the caller gave up, or the trial could not be made.
func chooseAccelerator(ctx context.Context, f Facts, hw hardware, kernel string) (accel, why string, err error) {
	called := strings.ToUpper(hw.accelerator)
	if f.Arch != runtime.GOARCH {
		return TCG, called + " runs no " + f.Arch + " guest on this host", nil
	}
	if hw.missing != "" {
		return TCG, hw.missing, nil
	}
	file, err := os.Open(kernel)
	if err != nil {
		return "", "", fmt.Errorf("try %s: %w", called, err)
	}
	defer file.Close()
	f.Accelerator = hw.accelerator
	failure := tryBoot(ctx, f, file)
	if ctx.Err() != nil {
		return "", "", fmt.Errorf("try %s: %w", called, context.Cause(ctx))
	}
	if failure != nil {
		return TCG, called + " is there but runs no guest: " + failure.Error(), nil
	}
	return hw.accelerator, "a guest's kernel ran under " + called, nil
}

// tryBoot boots the kernel without an init: it says its version, finds nothing to
// run, panics, and with that QEMU ends.
func tryBoot(ctx context.Context, f Facts, kernel *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, trialTimeout)
	defer cancel()
	const mebibytes = 128
	name, args := confine(f, "kvm-probe", limitsOf(f, driver.Spec{CPUs: 1, MemoryBytes: mebibytes << 20}), []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-machine", machineType(f), "-accel", f.Accelerator, "-cpu", cpuModel(f), "-m", fmt.Sprintf("%dM", mebibytes),
		"-kernel", filePath(f, 3, kernel.Name()), "-append", "console=" + consoleDevice(f.Arch) + " panic=-1", "-serial", "stdio",
	})
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.ExtraFiles = []*os.File{kernel}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case bytes.Contains(out, []byte("Linux version ")) && err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("it hung for %s", trialTimeout)
	case err == nil:
		return errors.New("its kernel said nothing")
	default:
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%w: %s", err, line)
	}
}
