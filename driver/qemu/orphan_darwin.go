package qemu

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// listLimit bounds a look at all processes.
	listLimit = 10 * time.Second
	// orphanLimit bounds how long a killed QEMU may take to be gone; it is looked for every orphanPoll.
	orphanLimit = 5 * time.Second
	orphanPoll  = 50 * time.Millisecond
)

// KillOrphans ends every QEMU that carries the machine's UUID. The caller has proven that no
// shim holds the machine, so such a QEMU belongs to nobody: on macOS it does not end with its
// shim. Nothing pins a process between the look at it and its end, which is a moment.
func KillOrphans(machineID string) error {
	for deadline := time.Now().Add(orphanLimit); ; {
		found, err := listMachine(machineID)
		if err != nil || len(found) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("end left-over qemu %v of machine %s: it does not die", found, machineID)
		}
		for _, pid := range found {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("end left-over qemu %d of machine %s: %w", pid, machineID, err)
			}
		}
		time.Sleep(orphanPoll)
	}
}

func listMachine(machineID string) ([]int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), listLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/bin/ps", "-axww", "-o", "pid=,command=").Output()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	return findMachine(string(out), machineID), nil
}
