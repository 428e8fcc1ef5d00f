package qemu

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// linkPort is the name of the virtio-serial port that the guest's agent opens.
const linkPort = "dev.firkin.link"

// tbCacheMiB bounds TCG's cache of translated code, which is otherwise sized by the
// guest's RAM. The guest's kernel and a few containers fit.
const tbCacheMiB = 64

// inherited are the numbers of the file descriptors that QEMU starts with.
type inherited struct {
	qmp, link, kernel, initrd int
}

// arguments builds QEMU's command line. It is a pure function of what is to be run, on
// what host, through which descriptors. Disks are plugged in afterwards (see disk.go),
// so that those of boot time and those of run time take one path.
func arguments(spec driver.Spec, facts Facts, fds inherited) []string {
	accel := facts.Accelerator
	if accel == TCG {
		accel = fmt.Sprintf("tcg,tb-size=%d", tbCacheMiB)
	}
	return []string{
		"-name", "firkin-" + spec.ID,
		"-uuid", spec.ID,
		"-nodefaults", "-no-user-config", "-no-reboot",
		"-display", "none",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-machine", machineType(facts.Arch),
		"-accel", accel,
		"-cpu", cpuModel(facts),
		"-smp", strconv.Itoa(spec.CPUs),
		"-m", fmt.Sprintf("%dM", spec.MemoryBytes>>20),
		"-kernel", fdPath(fds.kernel),
		"-initrd", fdPath(fds.initrd),
		"-append", commandLine(facts),
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", fds.qmp),
		"-mon", "chardev=qmp,mode=control",
		"-chardev", "stdio,id=console,signal=off",
		"-serial", "chardev:console",
		"-device", "virtio-serial-device",
		"-chardev", fmt.Sprintf("socket,id=link,fd=%d,server=on,wait=off", fds.link),
		"-device", "virtserialport,chardev=link,name=" + linkPort,
		"-device", "virtio-scsi-device,id=" + diskBus,
	}
}

// machineType is the leanest machine of an architecture that has virtio-mmio slots.
func machineType(arch string) string {
	if arch == archARM64 {
		return "virt,gic-version=max"
	}
	return "microvm,x-option-roms=off,isa-serial=on,acpi=on"
}

// cpuModel is the host's under KVM; emulated ones have all that QEMU can do, except that
// ARM's pointer authentication uses QEMU's cheap algorithm instead of the standard's.
func cpuModel(facts Facts) string {
	switch {
	case facts.Accelerator == KVM:
		return "host"
	case facts.Arch == archARM64:
		return "max,pauth-impdef=on"
	default:
		return "max"
	}
}

// consoleDevice is the guest kernel's name of the first serial port.
func consoleDevice(arch string) string {
	if arch == archARM64 {
		return "ttyAMA0"
	}
	return "ttyS0"
}

// fdPath names an inherited descriptor for those of QEMU's options that take a path only.
func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// commandLine is the guest kernel's. There is no secret in it: containers can read it.
func commandLine(facts Facts) string {
	words := []string{"console=" + consoleDevice(facts.Arch), "quiet", "panic=-1", "cryptomgr.notests", "random.trust_cpu=on"}
	if facts.Arch == archAMD64 {
		words = append(words, "noreplace-smp")
	}
	if facts.Accelerator == TCG && facts.TSCKHz > 0 {
		// The emulated machine has no reference clock to measure the TSC by; without being
		// told, the kernel hangs at boot now and then.
		words = append(words, "tsc_early_khz="+strconv.Itoa(facts.TSCKHz))
	}
	if facts.Accelerator == TCG {
		// Mitigations of CPU flaws guard nothing under emulation, and clearing memory
		// costs a tenth of the boot.
		words = append(words, "mitigations=off", "init_on_alloc=0")
	}
	return strings.Join(words, " ")
}
