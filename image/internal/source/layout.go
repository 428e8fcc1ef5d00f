package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The annotations that name an image in a layout's index.
const (
	refAnnotation  = "org.opencontainers.image.ref.name"
	nameAnnotation = "io.containerd.image.name"
)

// Layout finds the image tagged tag in the OCI layout at the directory dir; with an
// empty tag the layout must hold one image only. Close ends the use of the result.
func Layout(ctx context.Context, dir, tag string, want v1.Platform) (*Content, io.Closer, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	c, err := layout(ctx, dirFiles{root}, tag, want)
	if err != nil {
		root.Close()
		return nil, nil, err
	}
	return c, root, nil
}

// OCIArchive does the same with a layout in a tar file.
func OCIArchive(ctx context.Context, path, tag string, want v1.Platform) (*Content, io.Closer, error) {
	a, err := openArchive(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	c, err := layout(ctx, a, tag, want)
	if err != nil {
		a.Close()
		return nil, nil, err
	}
	return c, a, nil
}

// files are the files of a layout or archive, by slash-separated relative names.
type files interface {
	open(name string) (io.ReadCloser, error)
}

// dirFiles are the files of a directory; symbolic links that lead out of it fail.
type dirFiles struct{ root *os.Root }

func (d dirFiles) open(name string) (io.ReadCloser, error) {
	info, err := d.root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // a FIFO would block open
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return d.root.Open(name)
}

func layout(ctx context.Context, from files, tag string, want v1.Platform) (*Content, error) {
	rc, err := from.open("index.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("not an OCI layout: it has no index.json")
	}
	if err != nil {
		return nil, err
	}
	raw, err := readDocument(rc)
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("%w: index.json: %w", ErrCorrupt, err)
	}
	d, err := tagged(index.Manifests, tag, want)
	if err != nil {
		return nil, err
	}
	b := layoutBlobs{from}
	if raw, err = fetch(ctx, b, d); err != nil {
		return nil, err
	}
	return resolve(ctx, b, d, raw, want)
}

// tagged picks the image with a tag, or the only one. Several with one tag, or without
// any, are the same image for several platforms.
func tagged(ds []v1.Descriptor, tag string, want v1.Platform) (v1.Descriptor, error) {
	var match []v1.Descriptor
	var tags []string
	for _, d := range ds {
		name := d.Annotations[refAnnotation]
		if name != "" && !slices.Contains(tags, name) {
			tags = append(tags, name)
		}
		if tag != "" && tag != name && tag != d.Annotations[nameAnnotation] {
			continue
		}
		if !slices.ContainsFunc(match, func(m v1.Descriptor) bool { return m.Digest == d.Digest }) {
			match = append(match, d)
		}
	}
	switch {
	case len(match) == 1:
		return match[0], nil
	case len(match) == 0 && tag != "":
		return v1.Descriptor{}, fmt.Errorf("no image is tagged %q; tags: %q", tag, tags)
	case len(match) == 0:
		return v1.Descriptor{}, errors.New("the layout is empty")
	case tag == "" && len(tags) > 1:
		return v1.Descriptor{}, fmt.Errorf("several images, name one by its tag: %q", tags)
	}
	return choose(match, want)
}

// layoutBlobs are the blobs of a layout.
type layoutBlobs struct{ files }

func (l layoutBlobs) document(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	rc, err := l.blob(ctx, d)
	if err != nil {
		return nil, err
	}
	return readDocument(rc)
}

func (l layoutBlobs) blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return l.open("blobs/" + d.Digest.Algorithm + "/" + d.Digest.Hex)
}
