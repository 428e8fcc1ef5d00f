package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// spareLeast is left free at least while all other free memory is cleared, clearStep at
	// a time.
	spareLeast = 16 << 20
	clearStep  = 8 << 20
	// settleCardWait bounds the wait for a network card that may not be there.
	settleCardWait = 200 * time.Millisecond
)

// Settle makes the machine's memory ready to be copied: its network card, if there is one,
// lacks only its addresses, and what memory is free is zeros, of which a copy takes no space.
func (r *Runtime) Settle(ctx context.Context) error {
	err := raiseCard(ctx)
	runtime.GC()
	return errors.Join(err, clearFree())
}

// raiseCard does of setCard what is the same for all machines.
func raiseCard(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleCardWait, errNoCard)
	defer cancel()
	card, err := waitCard(ctx)
	if errors.Is(err, errNoCard) {
		return nil
	}
	if err == nil {
		err = cardUp(card)
	}
	if err != nil {
		return fmt.Errorf("raise the network card: %w", err)
	}
	return nil
}

// clearFree overwrites free memory: the kernel clears the pages that it gives out. To ask for
// what it keeps for itself would end the machine.
func clearFree() error {
	spare, err := spareMemory()
	var taken [][]byte
	for err == nil {
		var info unix.Sysinfo_t
		if err = unix.Sysinfo(&info); err != nil || info.Freeram*uint64(info.Unit) < spare+clearStep {
			break
		}
		var mem []byte
		if mem, err = unix.Mmap(-1, 0, clearStep, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err == nil {
			taken = append(taken, mem)
			err = unix.Madvise(mem, unix.MADV_POPULATE_WRITE)
		}
	}
	for _, mem := range taken {
		err = errors.Join(err, unix.Munmap(mem))
	}
	if err != nil {
		return fmt.Errorf("clear free memory: %w", err)
	}
	return nil
}

// spareMemory is what is left free, in bytes: twice what the kernel keeps, which it may be
// about to give to itself.
func spareMemory() (uint64, error) {
	b, err := os.ReadFile("/proc/sys/vm/min_free_kbytes")
	if err != nil {
		return 0, err
	}
	kept, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, err
	}
	return max(2*kept<<10, spareLeast), nil
}
