package template

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// HasMemory tells whether RAM can be shared between processes here.
const HasMemory = true

// seals are what nobody can undo: no byte of the file changes any more.
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// NewMemory makes a memory file of that size for a machine that will be a template.
func NewMemory(size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate("firkin-template", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make a memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "template memory")
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(fmt.Errorf("make a memory file: %w", err), f.Close())
	}
	return f, nil
}

// load reads a template's RAM from disk into a sealed memory file, checking its hash.
func load(ctx context.Context, path string, want file) (*os.File, error) {
	src, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	f, err := NewMemory(0)
	if err != nil {
		return nil, err
	}
	got, err := copyFile(ctx, f, src)
	if err == nil && got != want {
		err = fmt.Errorf("%w: its memory has another hash", ErrDamaged)
	}
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sealed tells whether a file that another process gave is one that load made.
func sealed(f *os.File, size int64) bool {
	got, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || got&seals != seals {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Size() == size
}
