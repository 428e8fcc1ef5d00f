package qemu

import "os"

// bare: see Facts.Bare.
const bare = false

// bootID is another one after each boot of the host.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(b), err
}

// hostHardware is KVM.
func hostHardware() hardware {
	hw := hardware{accelerator: KVM}
	if _, err := os.Stat("/dev/kvm"); err != nil {
		hw.missing = "there is no /dev/kvm"
	}
	return hw
}

// install says how to get QEMU for an architecture.
func install(arch string) string {
	return "on Debian: apt-get install " + debianPackage(arch) + " util-linux"
}

func debianPackage(arch string) string {
	if arch == archARM64 {
		return "qemu-system-arm"
	}
	return "qemu-system-x86"
}
