package template

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/firkin-dev/firkin-reconcile/internal/filelock"
)

// turnPoll is how often a turn that another process has is asked for again.
const turnPoll = 10 * time.Millisecond

// tryLock takes a lock that ends with this process at the latest; false while another open
// file has it.
func tryLock(path string) (release func(), ok bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	if ok, err = filelock.Try(f); !ok {
		return nil, false, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, true, nil
}

// Turn waits until no other process has a turn in this store, for VMMs that can do only one
// thing at a time on a host. release ends the turn.
func (s *Store) Turn(ctx context.Context) (release func(), err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("wait for a turn: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.dir, ".turn"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("wait for a turn: %w", err)
	}
	if err := filelock.Wait(ctx, f, turnPoll); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for a turn: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
