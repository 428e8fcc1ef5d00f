package template

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
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

// save writes src as a sparse file.
func save(ctx context.Context, path string, src *os.File) (file, error) {
	dst, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return file{}, err
	}
	got, err := copyFile(ctx, dst, src)
	if err == nil {
		err = dst.Sync()
	}
	return got, errors.Join(err, dst.Close())
}

// copyFile copies src into the empty file dst: zeros become holes.
func copyFile(ctx context.Context, dst, src *os.File) (file, error) {
	info, err := src.Stat()
	if err != nil {
		return file{}, err
	}
	if err := dst.Truncate(info.Size()); err != nil {
		return file{}, err
	}
	sum, err := extents(ctx, src, info.Size(), func(at int64, b []byte) error {
		_, err := dst.WriteAt(b, at)
		return err
	})
	return file{Bytes: info.Size(), Hash: sum}, err
}

// look says what a file is.
func look(ctx context.Context, f *os.File) (file, error) {
	info, err := f.Stat()
	if err != nil {
		return file{}, err
	}
	sum, err := extents(ctx, f, info.Size(), func(int64, []byte) error { return nil })
	return file{Bytes: info.Size(), Hash: sum}, err
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
