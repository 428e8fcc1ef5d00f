package qemu

import "golang.org/x/sys/unix"

// bare: see Facts.Bare. macOS has no setpriv, no prlimit, no seccomp, and no cgroups.
const bare = true

// bootID is another one after each boot of the host.
func bootID() (string, error) { return unix.Sysctl("kern.bootsessionuuid") }

// hostHardware is Hypervisor.framework.
func hostHardware() hardware {
	hw := hardware{accelerator: HVF}
	if has, err := unix.SysctlUint32("kern.hv_support"); err != nil || has == 0 {
		hw.missing = "this Mac has no Hypervisor.framework to run guests with (kern.hv_support)"
	}
	return hw
}

// install says how to get QEMU; Homebrew's is for all architectures.
func install(string) string { return "brew install qemu" }
