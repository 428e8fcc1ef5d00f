// Package source reads container images from where they are: registries, OCI layouts as
// directories and as archives, docker archives. Whatever it returns has been checked
// against its digest and size, blobs while they are read.
package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ErrCorrupt is returned, wrapped, for content that differs from its digest or size and for
// documents that are no valid image.
var ErrCorrupt = errors.New("corrupt image")

// ErrStalled is returned, wrapped, when a registry stops sending.
var ErrStalled = errors.New("the registry stopped sending")

// ErrInterrupted is returned, wrapped, when a connection to a registry breaks.
var ErrInterrupted = errors.New("connection interrupted")

const (
	// maxDocument bounds manifests, indexes and configs; registries take no larger ones.
	maxDocument = 4 << 20
	maxLayers   = 512
	maxNesting  = 3 // of indexes
)

// Content is one image for one platform.
type Content struct {
	// Digest identifies it: the manifest's, or the config's where there is no manifest.
	Digest v1.Hash
	// Config is the image's config file.
	Config *v1.ConfigFile
	// Layers are its layers, lowest first.
	Layers []Layer
	// Open reads a layer's blob. The reader checks digest and size and is to be read to
	// its end.
	Open func(ctx context.Context, l Layer) (io.ReadCloser, error)
}

// Layer is one layer of an image.
type Layer struct {
	// Digest is the blob's, and the zero Hash where only the DiffID is known.
	Digest v1.Hash
	// Size is the blob's.
	Size int64
	// DiffID is the digest of the blob decompressed.
	DiffID v1.Hash
	// name is the file in a docker archive.
	name string
}

// blobs is where manifests and blobs are got by their descriptors.
type blobs interface {
	// document reads a manifest or index; the caller checks it.
	document(ctx context.Context, d v1.Descriptor) ([]byte, error)
	// blob opens any other blob; the caller checks it.
	blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// resolve finds the image for a platform, starting at the manifest or index raw that d
// describes.
func resolve(ctx context.Context, from blobs, d v1.Descriptor, raw []byte, want v1.Platform) (*Content, error) {
	for range maxNesting {
		if !d.MediaType.IsIndex() {
			return image(ctx, from, d, raw, want)
		}
		var index v1.IndexManifest
		if err := json.Unmarshal(raw, &index); err != nil {
			return nil, fmt.Errorf("%w: index %s: %w", ErrCorrupt, d.Digest, err)
		}
		next, err := choose(index.Manifests, want)
		if err != nil {
			return nil, fmt.Errorf("index %s: %w", d.Digest, err)
		}
		if raw, err = fetch(ctx, from, next); err != nil {
			return nil, err
		}
		d = next
	}
	return nil, fmt.Errorf("%w: indexes are nested more than %d deep", ErrCorrupt, maxNesting)
}

// fetch reads the manifest or index that d describes and checks it.
func fetch(ctx context.Context, from blobs, d v1.Descriptor) ([]byte, error) {
	if err := checkDescriptor(d); err != nil {
		return nil, err
	}
	raw, err := from.document(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	if err := checkBytes(raw, d); err != nil {
		return nil, fmt.Errorf("manifest %w", err)
	}
	return raw, nil
}

// image reads the manifest raw and the config it names.
func image(ctx context.Context, from blobs, d v1.Descriptor, raw []byte, want v1.Platform) (*Content, error) {
	if d.MediaType.IsSchema1() {
		return nil, fmt.Errorf("manifest %s: docker's old schema 1 is not supported", d.Digest)
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%w: manifest %s: %w", ErrCorrupt, d.Digest, err)
	}
	if !m.Config.MediaType.IsConfig() {
		return nil, fmt.Errorf("manifest %s: holds a %q, not a container image", d.Digest, m.Config.MediaType)
	}
	rc, err := openBlob(ctx, from, m.Config)
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", m.Config.Digest, err)
	}
	rawConfig, err := readDocument(rc)
	if err != nil {
		return nil, fmt.Errorf("config %w", err)
	}
	c := &Content{Digest: d.Digest}
	if c.Config, err = parseConfig(rawConfig, want); err != nil {
		return nil, fmt.Errorf("config %s: %w", m.Config.Digest, err)
	}
	if c.Layers, err = layers(m.Layers, c.Config.RootFS.DiffIDs); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	c.Open = func(ctx context.Context, l Layer) (io.ReadCloser, error) {
		return openBlob(ctx, from, v1.Descriptor{Digest: l.Digest, Size: l.Size})
	}
	return c, nil
}

func layers(ds []v1.Descriptor, diffIDs []v1.Hash) ([]Layer, error) {
	if len(ds) != len(diffIDs) {
		return nil, fmt.Errorf("%w: %d layers, and the config lists %d", ErrCorrupt, len(ds), len(diffIDs))
	}
	if len(ds) > maxLayers {
		return nil, fmt.Errorf("%w: %d layers, the limit is %d", ErrCorrupt, len(ds), maxLayers)
	}
	out := make([]Layer, 0, len(ds))
	for i, d := range ds {
		if !d.MediaType.IsLayer() {
			return nil, fmt.Errorf("layer %s is a %q, not files", d.Digest, d.MediaType)
		}
		if err := checkDescriptor(d); err != nil {
			return nil, err
		}
		out = append(out, Layer{Digest: d.Digest, Size: d.Size, DiffID: diffIDs[i]})
	}
	return out, nil
}

// parseConfig reads a config file and refuses one for another platform.
func parseConfig(raw []byte, want v1.Platform) (*v1.ConfigFile, error) {
	var c v1.ConfigFile
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if (c.OS != "" && c.OS != want.OS) || (c.Architecture != "" && c.Architecture != want.Architecture) {
		return nil, fmt.Errorf("the image is for %s/%s, needed is %s", c.OS, c.Architecture, want)
	}
	return &c, nil
}

// choose picks the manifest for a platform: the wanted variant, else the plain one, else
// the first in the order listed. One that names no platform serves when it is alone.
func choose(ds []v1.Descriptor, want v1.Platform) (v1.Descriptor, error) {
	best, rank := -1, 0
	var have []string
	for i, d := range ds {
		if d.Platform == nil {
			if len(ds) == 1 {
				return d, nil
			}
			continue
		}
		if name := d.Platform.String(); !slices.Contains(have, name) && len(have) < 32 {
			have = append(have, name)
		}
		if r := match(*d.Platform, want); r > rank {
			best, rank = i, r
		}
	}
	if best < 0 {
		return v1.Descriptor{}, fmt.Errorf("there is no image for %s, only for %q", want, have)
	}
	return ds[best], nil
}

// match ranks a platform: 0 is unfit.
func match(have, want v1.Platform) int {
	switch {
	case have.OS != want.OS || have.Architecture != want.Architecture:
		return 0
	case baseVariant(have) == baseVariant(want):
		return 3
	case have.Variant == "":
		return 2
	case want.Variant == "":
		return 1
	}
	return 0
}

// baseVariant gives the variant that the plain architecture stands for its name.
func baseVariant(p v1.Platform) string {
	if p.Variant != "" {
		return p.Variant
	}
	switch p.Architecture {
	case "arm64":
		return "v8"
	case "amd64":
		return "v1"
	}
	return ""
}

func checkDescriptor(d v1.Descriptor) error {
	if d.Digest.Algorithm != "sha256" {
		return fmt.Errorf("%w: digest %q is not a sha256 digest", ErrCorrupt, d.Digest)
	}
	if d.Size < 0 {
		return fmt.Errorf("%w: %s is said to have a size of %d", ErrCorrupt, d.Digest, d.Size)
	}
	return nil
}
