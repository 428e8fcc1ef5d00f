package runtime

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// spareMemory is left free while all other free memory is cleared.
	spareMemory = 16 << 20
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

// clearFree overwrites free memory: the kernel clears the pages that it gives out.
func clearFree() error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return fmt.Errorf("clear free memory: %w", err)
	}
	size := int(info.Freeram*uint64(info.Unit)) - spareMemory
	if size <= 0 {
		return nil
	}
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("clear free memory: %w", err)
	}
	err = unix.Madvise(mem, unix.MADV_POPULATE_WRITE)
	if err := errors.Join(err, unix.Munmap(mem)); err != nil {
		return fmt.Errorf("clear free memory: %w", err)
	}
	return nil
}
