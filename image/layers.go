package image

import (
	"bufio"
	"bytes"

	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/firkin-dev/firkin-reconcile/image/internal/flatten"
	"github.com/firkin-dev/firkin-reconcile/image/internal/source"
)

const (
	// maxRatio is how far a layer may unpack beyond ratioFrom bytes; gzip of nothing but
	// zeros reaches 1030.
	maxRatio   = 1000
	ratioFrom  = 1 << 30
	readBuffer = 256 << 10
	// maxWindow is what a zstd layer may make its reader keep in memory.
	maxWindow = 128 << 20
)

// addLayer streams one layer into the tree: blob digest and size, decompression, diff ID
// and limits are all checked on the way. read is told how many bytes of the blob were read.
func addLayer(ctx context.Context, tree *flatten.Tree, c *source.Content, l source.Layer, limit int64, read func(int64)) error {
	blob, err := c.Open(ctx, l)
	if err != nil {
		return err
	}
	defer blob.Close()
	raw := &meter{ctx: ctx, r: blob, read: read}
	err = unpack(tree, raw, l, limit)
	if errors.Is(err, flatten.ErrTooLarge) || ctx.Err() != nil {
		return err
	}
	// The rest of the blob decides whether it is the right one. If it is not, that is the
	// cause of whatever went wrong while it was unpacked.
	if _, drained := io.Copy(io.Discard, raw); drained != nil {
		return drained
	}
	return err
}

// unpack decompresses a blob into the tree and checks its diff ID.
func unpack(tree *flatten.Tree, raw *meter, l source.Layer, limit int64) error {
	br := bufio.NewReaderSize(raw, readBuffer)
	r, closer, err := decompress(br)
	if err != nil {
		return corruptLayer(err)
	}
	defer closer()
	sum := sha256.New()
	plain := io.TeeReader(&bounded{r: r, raw: raw, left: limit, limit: limit}, sum)
	if err := tree.AddLayer(plain); err != nil {
		// Only a layer that is what its image says can be blamed for its contents.
		if _, drained := io.Copy(io.Discard, plain); drained == nil && hex.EncodeToString(sum.Sum(nil)) != l.DiffID.Hex {
			return wrongDiffID(l, sum.Sum(nil))
		}
		return corruptLayer(err)
	}
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return corruptLayer(err)
	}
	if got := sum.Sum(nil); hex.EncodeToString(got) != l.DiffID.Hex {
		return wrongDiffID(l, got)
	}
	return nil
}

func wrongDiffID(l source.Layer, got []byte) error {
	return fmt.Errorf("%w: unpacked its digest is sha256:%x, not %s", source.ErrCorrupt, got, l.DiffID)
}

// corruptLayer marks what a decompressor or the tar reader says, but not what failed below
// them: the connection, a file of the store, a limit.
func corruptLayer(err error) error {
	_, file := errors.AsType[*fs.PathError](err)
	if file || errors.Is(err, source.ErrCorrupt) || errors.Is(err, flatten.ErrTooLarge) || transient(err) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return fmt.Errorf("%w: %w", source.ErrCorrupt, err)
}

// decompress recognises the compression by its first bytes, whatever the media type says.
func decompress(br *bufio.Reader) (io.Reader, func(), error) {
	start, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(start, []byte{0x1f, 0x8b}):
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, nil, err
		}
		return zr, func() { zr.Close() }, nil
	case bytes.HasPrefix(start, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		zr, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return zr, zr.Close, nil
	}
	return br, func() {}, nil
}

// meter counts what is read of a blob and ends with the context.
type meter struct {
	ctx  context.Context // of the one read-through
	r    io.Reader
	n    int64
	read func(int64)
}

func (m *meter) Read(p []byte) (int, error) {
	if m.ctx.Err() != nil {
		return 0, context.Cause(m.ctx)
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	m.read(int64(n))
	return n, err
}

// bounded stops a blob that unpacks to more than is reasonable.
type bounded struct {
	r     io.Reader
	raw   *meter
	left  int64
	limit int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%w: layers unpack to more than %d bytes", flatten.ErrTooLarge, b.limit)
	}
	if out := b.limit - b.left; out > ratioFrom && out/maxRatio > b.raw.n {
		return 0, fmt.Errorf("%w: %d bytes unpack to more than %d", flatten.ErrTooLarge, b.raw.n, out)
	}
	return n, err
}
