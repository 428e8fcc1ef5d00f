package qemu

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// allowFile lets a process write files of that size. It is what a machine's larger disks need: a write beyond what is
// allowed would end the process.
func allowFile(pid int, size uint64) error {
	raised := unix.Rlimit{Cur: size, Max: size}
	if os.Geteuid() != 0 {
		var ours unix.Rlimit // the process has the same hard limit (see limits.flags)
		if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &ours); err != nil {
			return fmt.Errorf("let qemu write a file of %d bytes: %w", size, err)
		}
		raised.Max = ours.Max
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &raised, nil); err != nil {
		return fmt.Errorf("let qemu write a file of %d bytes: %w (as root it takes CAP_SYS_RESOURCE)", size, err)
	}
	return nil
}

// mayRaise tells whether this process may raise the hard limits of others.
func mayRaise() bool {
	const capability, bits = unix.CAP_SYS_RESOURCE, 32
	var data [2]unix.CapUserData // version 3 has two words
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	err := unix.Capget(&header, &data[0])
	return err == nil && data[capability/bits].Effective&(1<<(capability%bits)) != 0
}
