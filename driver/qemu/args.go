package qemu

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/network"
)

// linkPort is the name of the virtio-serial port that the guest's agent opens.
const linkPort = "dev.firkin.link"

// Names that QEMU and its monitor call parts of the machine by.
const (
	linkDevice   = "link0"
	memoryObject = "ram"
	cardID       = "card"
)

// settleWord has the guest be complete before it opens the link: it is to be copied.
const settleWord = "firkin.settle"

// emulatedWord tells the guest that its processor is emulated, where code is slow the
// first time that it runs at an address.
const emulatedWord = "firkin.emulated"

// tbCacheMiB bounds TCG's cache of translated code, which is otherwise sized by the
// guest's RAM. The guest's kernel and a few containers fit.
const tbCacheMiB = 64

// inherited are the numbers of the file descriptors that QEMU starts with.
type inherited struct {
	qmp, link, kernel, initrd int
	memory                    int // 0: memory of QEMU's own
	card                      int // 0: the network card, if there is one, leads nowhere
	shares                    int // 0: no directory of the host is shared
}

// arguments builds QEMU's command line. It is a pure function of what is to be run, on
// what host, through which descriptors. Disks are plugged in afterwards (see disk.go),
// so that those of boot time and those of run time take one path.
func arguments(spec driver.Spec, facts Facts, fds inherited, from origin) []string {
	accel := facts.Accelerator
	if accel == TCG {
		accel = fmt.Sprintf("tcg,tb-size=%d", tbCacheMiB)
	}
	args := []string{
		"-name", "firkin-" + spec.ID,
		"-uuid", spec.ID,
		"-nodefaults", "-no-user-config", "-action", "reboot=" + onReset(from),
		"-display", "none",
	}
	if !facts.Bare {
		args = append(args, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
	}
	args = append(args,
		"-machine", machineType(facts)+memoryBackend(fds),
	)
	args = append(args, firmware(facts)...)
	args = append(args,
		"-accel", accel,
		"-cpu", cpuModel(facts),
		"-smp", strconv.Itoa(spec.CPUs),
		"-m", fmt.Sprintf("%dM", spec.MemoryBytes>>20),
		"-kernel", filePath(facts, fds.kernel, spec.Guest.Kernel),
		"-initrd", filePath(facts, fds.initrd, spec.Guest.Initrd),
		"-append", commandLine(facts, from),
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", fds.qmp),
		"-mon", "chardev=qmp,mode=control",
		"-chardev", "stdio,id=console,signal=off",
		"-serial", "chardev:console",
		"-device", "virtio-serial-device",
		"-chardev", fmt.Sprintf("socket,id=link,fd=%d,server=on,wait=off", fds.link),
		"-device", "virtserialport,id="+linkDevice+",chardev=link,name="+linkPort,
		"-device", "virtio-scsi-device,id="+diskBus,
	)
	args = append(args, cardArguments(spec, fds, from)...)
	args = append(args, shareArguments(spec, fds)...)
	return append(args, memoryArguments(spec, fds, from)...)
}

// What QEMU does when the guest resets the machine.
const (
	resetBoots = "reset"
	resetEnds  = "shutdown"
)

// onReset: a guest that finds at boot that it cannot work tries again (see vm.rebooted). A copy
// is past that.
func onReset(from origin) string {
	if from.state != nil {
		return resetEnds
	}
	return resetBoots
}

// cardArguments are those of the network card. The address of a copy is the guest's to set, so
// that machines which are copies of one differ; and until then a copy has nothing to announce.
// A machine that boots has its own from the start: not every guest can set it.
func cardArguments(spec driver.Spec, fds inherited, from origin) []string {
	if !spec.Network.Enabled {
		return nil
	}
	device := fmt.Sprintf("virtio-net-device,host_mtu=%d,guest_announce=off", network.MTU)
	if address := spec.Network.Address; from.state == nil && address.IsValid() {
		device += ",mac=" + network.MACOf(address.Addr()).String()
	}
	if fds.card == 0 {
		return []string{"-device", device}
	}
	return []string{
		"-netdev", fmt.Sprintf("dgram,id=%s,local.type=fd,local.str=%d", cardID, fds.card),
		"-device", device + ",netdev=" + cardID,
	}
}

// shareArguments are those of the device that the host's directories are behind. Their
// server reads and writes the machine's RAM. The device is a modern one only, which the
// bus has to be told.
func shareArguments(spec driver.Spec, fds inherited) []string {
	if fds.shares == 0 {
		return nil
	}
	return []string{
		"-object", fmt.Sprintf("memory-backend-memfd,id=%s,size=%dM,share=on", memoryObject, spec.MemoryBytes>>20),
		"-global", "virtio-mmio.force-legacy=false",
		"-chardev", fmt.Sprintf("socket,id=shares,fd=%d", fds.shares),
		"-device", "vhost-user-fs-device,chardev=shares,tag=" + sharesTag,
	}
}

// memoryBackend says that the machine's RAM is the one of memoryArguments or
// shareArguments, if there is any.
func memoryBackend(fds inherited) string {
	if fds.memory == 0 && fds.shares == 0 {
		return ""
	}
	return ",memory-backend=" + memoryObject
}

// memoryArguments are those of a machine that is, or is copied from, a template.
func memoryArguments(spec driver.Spec, fds inherited, from origin) []string {
	if fds.memory == 0 {
		return nil
	}
	share := "off"
	if from.state == nil {
		share = "on"
	}
	args := []string{"-object", fmt.Sprintf("memory-backend-file,id=%s,size=%dM,mem-path=%s,share=%s",
		memoryObject, spec.MemoryBytes>>20, fdPath(fds.memory), share)}
	if from.state != nil {
		args = append(args, "-incoming", "defer")
	}
	return args
}

// machineType is the leanest machine of an architecture that has virtio-mmio slots. HVF has no
// interrupt controller of its own; of QEMU's, the newest that it takes has no limit of 8 CPUs.
func machineType(facts Facts) string {
	switch {
	case facts.Arch == archARM64 && facts.Accelerator == HVF:
		return "virt,gic-version=3"
	case facts.Arch == archARM64:
		return "virt,gic-version=max"
	default:
		return "microvm,x-option-roms=off,isa-serial=on,acpi=on"
	}
}

// firmware is the one that starts a kernel without an option ROM: what a microvm starts with
// otherwise differs by QEMU's version.
func firmware(facts Facts) []string {
	if facts.Arch == archARM64 {
		return nil // a virt machine starts its kernel by itself
	}
	return []string{"-bios", "qboot.rom"}
}

// cpuModel is the host's where that runs the guest; emulated ones have all that QEMU can do, except that
// ARM's pointer authentication uses QEMU's cheap algorithm instead of the standard's, and
// that x86's string moves are not said to be fast by the byte: QEMU emulates them byte by byte.
// Nor are short ones: with those alone (QEMU 10 offers them) Linux 6.1 hangs at boot.
func cpuModel(facts Facts) string {
	switch {
	case !facts.Emulated():
		return "host"
	case facts.Arch == archARM64:
		return "max,pauth-impdef=on"
	default:
		return "max,-erms,-fsrm"
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

// filePath is how QEMU gets at a file that it is handed over: by its descriptor, since it may
// open nothing itself; or by its path, where it may, and where two openings of one descriptor
// share their place in the file.
func filePath(facts Facts, fd int, path string) string {
	if facts.Bare {
		return path
	}
	return fdPath(fd)
}

// commandLine is the guest kernel's. There is no secret in it: containers can read it.
func commandLine(facts Facts, from origin) string {
	words := []string{"console=" + consoleDevice(facts.Arch), "quiet", "panic=-1", "cryptomgr.notests", "random.trust_cpu=on"}
	if facts.Arch == archAMD64 {
		words = append(words, "noreplace-smp")
	}
	if facts.Accelerator == TCG && facts.TSCKHz > 0 {
		// The emulated machine has no reference clock to measure the TSC by; without being
		// told, the kernel hangs at boot now and then.
		// What it would check the TSC against are its ticks, which are late on a busy host;
		// and it would tick 250 times a second for want of a clock to do without.
		words = append(words, "tsc_early_khz="+strconv.Itoa(facts.TSCKHz), "tsc=reliable")
	}
	if facts.Accelerator == TCG {
		// Mitigations of CPU flaws guard nothing under emulation, and clearing memory
		// costs a tenth of the boot.
		words = append(words, "mitigations=off", "init_on_alloc=0", emulatedWord)
	}
	if from.memory != nil && from.state == nil {
		words = append(words, settleWord)
	}
	return strings.Join(words, " ")
}
