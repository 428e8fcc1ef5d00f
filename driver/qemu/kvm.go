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
)

// kvmTimeout bounds the probe: where KVM works, the kernel is through in under a second.
const kvmTimeout = 5 * time.Second

// chooseAccelerator decides between KVM and TCG and says why. That /dev/kvm can be opened
// says little: a nested, paravirtual-only KVM opens, even runs a few instructions, and
// then aborts or hangs. So the guest's own kernel is booted, confined as machines are,
// and only its word on the console counts.
//
// An error means that the question is open: the caller gave up, or the trial could not be made.
func chooseAccelerator(ctx context.Context, f Facts, kernel string) (accel, why string, err error) {
	if f.Arch != runtime.GOARCH {
		return TCG, "KVM runs no " + f.Arch + " guest on this host", nil
	}
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return TCG, "there is no /dev/kvm", nil
	}
	file, err := os.Open(kernel)
	if err != nil {
		return "", "", fmt.Errorf("try KVM: %w", err)
	}
	defer file.Close()
	f.Accelerator = KVM
	failure := bootUnderKVM(ctx, f, file)
	if ctx.Err() != nil {
		return "", "", fmt.Errorf("try KVM: %w", context.Cause(ctx))
	}
	if failure != nil {
		return TCG, "/dev/kvm exists but runs no guest: " + failure.Error(), nil
	}
	return KVM, "a guest's kernel ran under KVM", nil
}

// bootUnderKVM boots the kernel without an init: it says its version, finds nothing to
// run, panics, and with that QEMU ends.
func bootUnderKVM(ctx context.Context, f Facts, kernel *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, kvmTimeout)
	defer cancel()
	name, args := confine(f, "kvm-probe", []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-machine", machineType(f.Arch), "-accel", KVM, "-cpu", cpuModel(f), "-m", "128M",
		"-kernel", fdPath(3), "-append", "console=" + consoleDevice(f.Arch) + " panic=-1", "-serial", "stdio",
	})
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.ExtraFiles = []*os.File{kernel}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case bytes.Contains(out, []byte("Linux version ")) && err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("it hung for %s", kvmTimeout)
	case err == nil:
		return errors.New("its kernel said nothing")
	default:
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%w: %s", err, line)
	}
}
