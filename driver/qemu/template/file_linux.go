package template

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// block is how much is copied at once.
const block = 1 << 20

// save writes src as a sparse file and returns its hash (see extents) and size.
func save(ctx context.Context, path string, src *os.File) (string, int64, error) {
	dst, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return "", 0, err
	}
	sum, size, err := copyFile(ctx, dst, src)
	if err == nil {
		err = dst.Sync()
	}
	return sum, size, errors.Join(err, dst.Close())
}

// copyFile copies src into the empty file dst: zeros become holes.
func copyFile(ctx context.Context, dst, src *os.File) (string, int64, error) {
	info, err := src.Stat()
	if err != nil {
		return "", 0, err
	}
	size := info.Size()
	if err := dst.Truncate(size); err != nil {
		return "", 0, err
	}
	h := sha256.New()
	err = extents(ctx, src, size, h, func(at int64, b []byte) error {
		_, err := dst.WriteAt(b, at)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// extents calls each for every block of src that is not all zeros, and hashes these with
// their places: equal content has an equal hash, whatever of it are holes.
func extents(ctx context.Context, src *os.File, size int64, h hash.Hash, each func(int64, []byte) error) error {
	buf := make([]byte, block)
	zeros := make([]byte, block)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		data, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // the rest is a hole
		}
		if err != nil {
			return fmt.Errorf("find data: %w", err)
		}
		at = data - data%block
		n, err := io.ReadFull(io.NewSectionReader(src, at, min(block, size-at)), buf[:min(block, size-at)])
		if err != nil {
			return err
		}
		if string(buf[:n]) != string(zeros[:n]) {
			_, _ = fmt.Fprintf(h, "%d %d\n", at, n) // never fails
			_, _ = h.Write(buf[:n])
			if err := each(at, buf[:n]); err != nil {
				return err
			}
		}
		at += int64(n)
	}
	_, _ = fmt.Fprintf(h, "%d\n", size)
	return nil
}

// checkState compares the hash of a small file.
func checkState(f *os.File, want string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := sha256.New()
	if err := extents(context.Background(), f, info.Size(), h, func(int64, []byte) error { return nil }); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != want {
		return fmt.Errorf("%w: its state has another hash", ErrDamaged)
	}
	return nil
}

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
func load(ctx context.Context, path string, m meta) (*os.File, error) {
	src, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	f, err := NewMemory(0)
	if err != nil {
		return nil, err
	}
	sum, size, err := copyFile(ctx, f, src)
	if err == nil && (sum != m.MemoryHash || size != m.MemoryBytes) {
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
