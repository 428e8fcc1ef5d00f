package source

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// maxArchiveFiles bounds the files of an archive: manifests, configs and layers.
const maxArchiveFiles = 100_000

// archive is a tar file with an index, so that its files are read in place.
type archive struct {
	f     *os.File
	files map[string]section
	links map[string]string
}

type section struct{ offset, size int64 }

// openArchive opens a tar file and reads its headers.
func openArchive(ctx context.Context, name string) (*archive, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	a := &archive{f: f, files: map[string]section{}, links: map[string]string{}}
	if err := a.index(ctx); err != nil {
		f.Close()
		return nil, err
	}
	return a, nil
}

func (a *archive) Close() error { return a.f.Close() }

func (a *archive) index(ctx context.Context) error {
	if err := a.refuseCompressed(); err != nil {
		return err
	}
	tr := tar.NewReader(a.f) // reads headers whole and seeks over contents
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: read archive: %w", ErrCorrupt, err)
		}
		if n >= maxArchiveFiles {
			return fmt.Errorf("%w: archive of more than %d files", ErrCorrupt, maxArchiveFiles)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		at := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			offset, err := a.f.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			a.files[at] = section{offset, h.Size}
		case tar.TypeSymlink:
			a.links[at] = path.Join(path.Dir(at), h.Linkname)
		case tar.TypeLink:
			a.links[at] = path.Clean(h.Linkname)
		}
	}
}

func (a *archive) refuseCompressed() error {
	var start [4]byte
	n, err := a.f.ReadAt(start[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, magic := range []string{"\x1f\x8b", "\x28\xb5\x2f\xfd", "BZh", "\xfd7zX"} {
		if bytes.HasPrefix(start[:n], []byte(magic)) {
			return errors.New("the archive is compressed: decompress it first")
		}
	}
	return nil
}

// find follows links to a file.
func (a *archive) find(name string) (section, error) {
	at := path.Clean(name)
	for range 8 {
		if s, ok := a.files[at]; ok {
			return s, nil
		}
		next, ok := a.links[at]
		if !ok {
			break
		}
		at = next
	}
	return section{}, fmt.Errorf("%s in the archive: %w", strings.ToValidUTF8(name, "?"), fs.ErrNotExist)
}

func (a *archive) open(name string) (io.ReadCloser, error) {
	s, err := a.find(name)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(a.f, s.offset, s.size)), nil
}
