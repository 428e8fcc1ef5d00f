package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// openBlob opens a blob with its digest and size checked while it is read.
func openBlob(ctx context.Context, from blobs, d v1.Descriptor) (io.ReadCloser, error) {
	if err := checkDescriptor(d); err != nil {
		return nil, err
	}
	rc, err := from.blob(ctx, d)
	if err != nil {
		return nil, err
	}
	return &verifier{ctx: ctx, rc: rc, want: d, hash: sha256.New()}, nil
}

// verifier reads a blob and fails, instead of ending, when it is not the one described.
type verifier struct {
	ctx  context.Context // of the one read-through, ends it early
	rc   io.ReadCloser
	want v1.Descriptor
	hash hash.Hash
	got  int64
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.ctx.Err() != nil {
		return 0, context.Cause(v.ctx)
	}
	n, err := v.rc.Read(p)
	v.got += int64(n)
	if v.got > v.want.Size {
		return 0, fmt.Errorf("%w: %s is longer than its %d bytes", ErrCorrupt, v.want.Digest, v.want.Size)
	}
	v.hash.Write(p[:n])
	if err == nil {
		return n, nil
	}
	if v.got == v.want.Size {
		// Whole, whatever the reader below thinks of its content.
		if sum := v.sum(); sum != v.want.Digest.Hex {
			return n, fmt.Errorf("%w: %s has the digest sha256:%s", ErrCorrupt, v.want.Digest, sum)
		}
		return n, io.EOF
	}
	if errors.Is(err, io.EOF) {
		return n, fmt.Errorf("%w: %s has %d bytes, not %d", ErrCorrupt, v.want.Digest, v.got, v.want.Size)
	}
	return n, fmt.Errorf("read %s: %w", v.want.Digest, err)
}

func (v *verifier) sum() string { return hex.EncodeToString(v.hash.Sum(nil)) }

func (v *verifier) Close() error { return v.rc.Close() }

// readDocument reads and closes a small blob.
func readDocument(rc io.ReadCloser) ([]byte, error) {
	defer rc.Close()
	b, err := io.ReadAll(io.LimitReader(rc, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxDocument {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrCorrupt, maxDocument)
	}
	return b, nil
}

// checkBytes compares b with its descriptor.
func checkBytes(b []byte, d v1.Descriptor) error {
	h, size, err := v1.SHA256(bytes.NewReader(b))
	if err != nil {
		return err
	}
	if h != d.Digest {
		return fmt.Errorf("%w: %s has the digest %s", ErrCorrupt, d.Digest, h)
	}
	if size != d.Size {
		return fmt.Errorf("%w: %s has %d bytes, not %d", ErrCorrupt, d.Digest, size, d.Size)
	}
	return nil
}
