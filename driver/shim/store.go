package shim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/driver/ext4"
	"github.com/firkin-dev/firkin-reconcile/internal/filelock"
)

// blankVersion names the way blank stores are made; a change makes new ones.
const blankVersion = 1

// makeStore makes a machine's store, a sparse copy of the blank one of its size.
func (d *Driver) makeStore(ctx context.Context, path string, size int64) error {
	blank, err := d.blank(ctx, size)
	if err != nil {
		return fmt.Errorf("make store: %w", err)
	}
	// gofail: var storeBlankReady struct{}
	if err := cloneSparse(path, blank); err != nil {
		return fmt.Errorf("make store: %w", err)
	}
	return nil
}

// blank returns the blank store of a size, made once for all machines and
// processes: whoever is first makes it under another name and renames it.
func (d *Driver) blank(ctx context.Context, size int64) (string, error) {
	path := filepath.Join(d.opt.BlankDir, fmt.Sprintf("v%d-%d.img", blankVersion, size))
	if exists(path) {
		return path, nil
	}
	if err := os.MkdirAll(d.opt.BlankDir, 0o700); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(d.opt.BlankDir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	ctx, cancel := context.WithTimeout(ctx, ext4.FormatLimit)
	defer cancel()
	if err := filelock.Wait(ctx, lock, 10*time.Millisecond); err != nil {
		return "", fmt.Errorf("wait for another process to make a blank store: %w", err)
	}
	if exists(path) {
		return path, nil
	}
	// gofail: var storeBlankLocked struct{}
	return path, ext4.Create(ctx, path, size, d.opt.Format)
}

// allocated is what a file occupies on the host.
func allocated(path string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0, err
	}
	const blockSize = 512 // of st_blocks, on every system
	return st.Blocks * blockSize, nil
}
