package qemu

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// limit bounds the descriptors of a QEMU that was just started. QEMU cannot raise the limit
// again: that takes a capability.
func limit(pid int) error {
	var most unix.Rlimit
	// Its limit is ours, which it has inherited: asking for another's takes a right that we
	// may not have (below).
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &most); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	most.Max = min(most.Max, maxOpenFiles)
	most.Cur = most.Max
	err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &most, nil)
	// A root without CAP_SYS_RESOURCE, as containers have it, may come too late: setpriv
	// has changed the uid by then, and what was inherited stays.
	if err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("limit qemu's open files: %w", err)
	}
	return nil
}
