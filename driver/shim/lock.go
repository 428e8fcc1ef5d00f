package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// errLocked: somebody else holds the lock.
var errLocked = errors.New("lock is held")

// probeWait is how long an exclusive lock waits for probes (which hold it shared,
// for microseconds) to go away.
const probeWait = 2 * time.Second

// openLock opens a machine's lock file. The file is never made here: a machine
// without one has been deleted.
func openLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	return f, nil
}

// free reports whether nobody holds the machine's lock exclusively: no shim lives
// and nobody is making or deleting the machine.
func free(dir string) (bool, error) {
	f, err := openLock(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = flock(f, unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, errLocked) {
		return false, nil
	}
	return err == nil, err
}

// take takes the machine's lock for its holder: errLocked when there is a holder,
// fs.ErrNotExist when the machine was deleted. Closing the file lets go of it.
func take(ctx context.Context, dir string) (*os.File, error) {
	f, err := openLock(dir)
	if err != nil {
		return nil, err
	}
	if err := lockExclusive(ctx, f); err != nil {
		f.Close()
		return nil, err
	}
	if !sameFile(f, filepath.Join(dir, lockFile)) {
		f.Close()
		return nil, fmt.Errorf("lock machine: it was deleted meanwhile: %w", fs.ErrNotExist)
	}
	return f, nil
}

// lockExclusive takes f's lock. A shared lock of a probe is waited out; another
// holder's is not.
func lockExclusive(ctx context.Context, f *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	for {
		err := flock(f, unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, errLocked) {
			return err
		}
		// A probe's shared lock can be shared; a holder's cannot.
		if shared := flock(f, unix.LOCK_SH|unix.LOCK_NB); shared != nil {
			return shared
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return errLocked
		}
	}
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			return errLocked
		case err != nil:
			return fmt.Errorf("flock: %w", err)
		}
		return nil
	}
}

// sameFile reports whether path still names the open file.
func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
