// Package filelock takes exclusive locks of files (flock). They are of the open file, so
// that closing it, or the end of the process however that comes, gives them back.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Try takes f's lock; it is false while another open file has it.
func Try(f *os.File) (bool, error) {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("flock %s: %w", f.Name(), err)
		}
		return true, nil
	}
}

// Wait takes f's lock once it is free, which it sees at every poll; the cause of ctx's end is
// its error if that comes first.
func Wait(ctx context.Context, f *os.File, poll time.Duration) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if ok, err := Try(f); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
