package sandbox

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// Whiteouts of the OCI image format: ".wh.NAME" removes NAME of the layers below, and
// ".wh..wh..opq" all that they have in its directory. Other names that begin like the latter are
// reserved, and skipped.
const (
	whiteout       = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// ApplyOciLayer implements sandboxpb.SandboxContextServer. The archive is a tar, or one compressed
// by gzip. What was unpacked stays when the call fails or its caller gives up.
func (s Service) ApplyOciLayer(ctx context.Context, req *sandboxpb.ApplyOciLayerRequest) (*sandboxpb.ApplyOciLayerResponse, error) {
	n, err := applyLayerFile(ctx, req.GetArchivePath(), req.GetDestination())
	if err != nil {
		return nil, failure(err, "apply layer %s to %s", req.GetArchivePath(), req.GetDestination())
	}
	return &sandboxpb.ApplyOciLayerResponse{EntriesApplied: n}, nil
}

func applyLayerFile(ctx context.Context, archive, destination string) (uint64, error) {
	f, err := os.Open(archive)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // only read
	root, err := os.OpenRoot(destination)
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }() // opened to write below it
	r, err := decompress(f)
	if err != nil {
		return 0, err
	}
	return unpack(ctx, &layer{root: root, made: map[string]bool{}}, r)
}

// layer is one that is being unpacked over a root.
type layer struct {
	root *os.Root
	// made are the paths that this layer has made: its whiteouts spare them. nil: it is an
	// archive in which no name is a whiteout.
	made map[string]bool
	// times of directories are set when nothing is put into them any more.
	times []dirTime
}

type readerFunc func(p []byte) (int, error)

// Read implements io.Reader.
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// unpack unpacks an archive; the number of entries that it has.
func unpack(ctx context.Context, l *layer, r io.Reader) (uint64, error) {
	tr := tar.NewReader(readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return r.Read(p)
	}))
	for n := uint64(0); ; n++ {
		h, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF):
			return n, l.setTimes()
		case ctx.Err() != nil:
			return n, context.Cause(ctx)
		case err != nil:
			return n, invalid("read archive: %v", err)
		}
		if err := l.apply(h, tr); err != nil {
			return n, fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

func (l *layer) apply(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	dir, base := path.Split(path.Clean("/" + h.Name))
	if base == "" { // the root itself
		if h.Typeflag != tar.TypeDir {
			return invalid("the root is no directory")
		}
		return l.setDir(".", h)
	}
	dir, err := resolveDir(l.root, dir)
	if err != nil {
		return err
	}
	if hidden, ok := strings.CutPrefix(base, whiteout); ok && l.made != nil {
		return l.whiteout(dir, base, hidden)
	}
	if err := l.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := path.Join(dir, base)
	if err := l.make(name, h, content); err != nil {
		return err
	}
	if l.made == nil {
		return nil
	}
	for p := name; p != "." && !l.made[p]; p = path.Dir(p) {
		l.made[p] = true // with its parents: an opaque directory keeps what leads to it
	}
	return nil
}

// whiteout removes what layers below have.
func (l *layer) whiteout(dir, base, hidden string) error {
	switch {
	case base == whiteoutOpaque:
		return l.clear(dir)
	case strings.HasPrefix(base, whiteoutMeta):
		return nil
	case hidden == "" || hidden == "." || hidden == "..":
		return invalid("whiteout of nothing")
	}
	name := path.Join(dir, hidden)
	if l.made[name] {
		return l.clear(name)
	}
	return l.root.RemoveAll(name)
}

// clear removes what is below dir and was not made by this layer. What is no directory stays.
func (l *layer) clear(dir string) error {
	info, err := l.root.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil
	}
	if err != nil {
		return err
	}
	names, err := l.list(dir)
	if err != nil {
		return err
	}
	for _, base := range names {
		name := path.Join(dir, base)
		if l.made[name] {
			err = l.clear(name)
		} else {
			err = l.root.RemoveAll(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *layer) list(dir string) ([]string, error) {
	d, err := l.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }() // only read
	return d.Readdirnames(-1)
}
