package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Template is an open template disk, for who has to send it where it cannot be attached.
type Template struct {
	f *os.File
	// SizeBytes is the size of the disk, StoredBytes about how much of it is not zero.
	SizeBytes   int64
	StoredBytes int64
}

// OpenTemplate opens the template disk of an Image. It can be read to its end even if it is
// pruned meanwhile.
func OpenTemplate(path string) (*Template, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open template: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		return nil, fmt.Errorf("open template %s: %w", path, errors.Join(err, f.Close()))
	}
	return &Template{f: f, SizeBytes: info.Size(), StoredBytes: min(info.Size(), allocated(info))}, nil
}

// Close closes the file.
func (t *Template) Close() error { return t.f.Close() }

// Parts calls take with the parts that are not all zero, of size bytes (the last one may be
// shorter), in order. data is take's until it returns. It ends with ctx, or with what take
// returns.
func (t *Template) Parts(ctx context.Context, size int, take func(offset int64, data []byte) error) error {
	buf, zero := make([]byte, size), make([]byte, size)
	for offset := int64(0); ; offset += int64(size) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		data, err := nextData(t.f, offset)
		if errors.Is(err, io.EOF) {
			return t.unchanged()
		}
		if err != nil {
			return fmt.Errorf("read template: %w", err)
		}
		offset = data / int64(size) * int64(size)
		n, err := t.f.ReadAt(buf, offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read template: %w", err)
		}
		if bytes.Equal(buf[:n], zero[:n]) {
			continue
		}
		if err := take(offset, buf[:n]); err != nil {
			return err
		}
	}
}

// unchanged is an error when the file is no longer as long as it was.
func (t *Template) unchanged() error {
	info, err := t.f.Stat()
	if err != nil {
		return fmt.Errorf("read template: %w", err)
	}
	if info.Size() != t.SizeBytes {
		return fmt.Errorf("read template %s: it has %d bytes, and had %d", t.f.Name(), info.Size(), t.SizeBytes)
	}
	return nil
}
