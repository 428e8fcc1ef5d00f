// Package makeimage makes small container images from files, for the examples and for
// tests. The same files and config give the same image, byte for byte.
package makeimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// File is one entry of a layer: a directory when Path ends in a slash, a symbolic link
// when Symlink is set, a hard link when Link is, else a file. Its times are 1970.
type File struct {
	Path string
	// Mode holds the permissions; 0 stands for 0755 for directories and 0644 for files.
	Mode     int64
	UID, GID int
	Data     []byte
	Symlink  string
	Link     string
}

// Layer makes a layer of files, in the order given.
func Layer(files ...File) (v1.Layer, error) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, f := range files {
		if err := tw.WriteHeader(f.header()); err != nil {
			return nil, fmt.Errorf("file %s: %w", f.Path, err)
		}
		if _, err := tw.Write(f.Data); err != nil {
			return nil, fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	return FromTar(b.Bytes())
}

// FromTar makes a layer of a tar file.
func FromTar(data []byte) (v1.Layer, error) {
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}, tarball.WithMediaType(types.OCILayer))
}

func (f File) header() *tar.Header {
	h := &tar.Header{Name: f.Path, Mode: f.Mode, Uid: f.UID, Gid: f.GID, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	mode := int64(0o644)
	switch {
	case strings.HasSuffix(f.Path, "/"):
		h.Typeflag, mode = tar.TypeDir, 0o755
	case f.Symlink != "":
		h.Typeflag, h.Linkname, mode = tar.TypeSymlink, f.Symlink, 0o777
	case f.Link != "":
		h.Typeflag, h.Linkname = tar.TypeLink, f.Link
	default:
		h.Typeflag, h.Size = tar.TypeReg, int64(len(f.Data))
	}
	if h.Mode == 0 {
		h.Mode = mode
	}
	return h
}

// Image makes an image for linux on arch.
func Image(arch string, cfg v1.Config, layers ...v1.Layer) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: arch, Config: cfg, RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, layers...)
}

// WriteLayout writes images as an OCI layout at dir, by their tags. What was there of
// another layout is no longer named by it.
func WriteLayout(dir string, images map[string]v1.Image) error {
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("write layout %s: %w", dir, err)
	}
	tags := make([]string, 0, len(images))
	for tag := range images {
		tags = append(tags, tag)
	}
	slices.Sort(tags)
	for _, tag := range tags {
		name := map[string]string{"org.opencontainers.image.ref.name": tag}
		if err := p.AppendImage(images[tag], layout.WithAnnotations(name)); err != nil {
			return fmt.Errorf("write layout %s: image %s: %w", dir, tag, err)
		}
	}
	return nil
}
