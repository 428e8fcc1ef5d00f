package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/firkin-dev/firkin-reconcile/internal/filelock"
)

// lockPoll is how often a lock that another process holds is tried again.
const lockPoll = 10 * time.Millisecond

// lock keeps other processes from making and removing volumes until it is closed.
func (s *Store) lock(ctx context.Context) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(s.dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := filelock.Wait(ctx, f, lockPoll); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for another process with the volumes: %w", err), f.Close())
	}
	return f, nil
}
