//go:build unix

package image

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/firkin-dev/firkin-reconcile/internal/filelock"
)

// lockPoll is how often a lock held elsewhere is tried again.
const lockPoll = 50 * time.Millisecond

// tryLock takes the lock file at path, for this process and goroutine alone; ok is false
// when it is held. Closing the file lets go of it, as does the end of the process.
func tryLock(path string) (f *os.File, ok bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, false, err
	}
	if ok, err = filelock.Try(f); ok {
		return f, true, nil
	}
	return nil, false, errors.Join(err, f.Close())
}

// lock waits for the lock file at path.
func lock(ctx context.Context, path string) (*os.File, error) {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		f, ok, err := tryLock(path)
		if ok || err != nil {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}
