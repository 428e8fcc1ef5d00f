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

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// block is how much is copied at once, and the least hole.
	block = 64 << 10
	// segment is what one goroutine hashes; a multiple of block.
	segment = 16 << 20
	// readers bounds the goroutines that read one file.
	readers = 4
)

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
	sum, err := extents(ctx, src, size, func(at int64, b []byte) error {
		_, err := dst.WriteAt(b, at)
		return err
	})
	return sum, size, err
}

// extents calls each, from several goroutines, for every block of src that is not all
// zeros, and returns a hash of these with their places: equal content has an equal hash,
// whatever of it are holes.
func extents(ctx context.Context, src *os.File, size int64, each func(int64, []byte) error) (string, error) {
	sums := make([][]byte, (size+segment-1)/segment)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i := range sums {
		g.Go(func() error {
			h := sha256.New()
			from := int64(i) * segment
			err := blocks(ctx, src, from, min(from+segment, size), h, each)
			sums[i] = h.Sum(nil)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d\n", size) // never fails
	for _, sum := range sums {
		_, _ = h.Write(sum)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// blocks is extents for what lies between two places of the file.
func blocks(ctx context.Context, src *os.File, from, to int64, h hash.Hash, each func(int64, []byte) error) error {
	buf := make([]byte, block)
	zeros := make([]byte, block)
	for at := from; at < to; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		data, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && data >= to {
			return nil // the rest is a hole
		}
		if err != nil {
			return fmt.Errorf("find data: %w", err)
		}
		at = data - data%block
		n, err := src.ReadAt(buf[:min(block, to-at)], at)
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
	return nil
}

// checkState compares the hash of a small file.
func checkState(f *os.File, want string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	sum, err := extents(context.Background(), f, info.Size(), func(int64, []byte) error { return nil })
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if sum != want {
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
