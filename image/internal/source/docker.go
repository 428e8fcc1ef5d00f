package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// DockerArchive finds the image tagged tag in what docker save writes; with an empty tag
// the archive must hold one image only. Such an archive has no manifest with digests, so
// the image's digest is its config's, which lists the layers' diff IDs. Close ends the
// use of the result.
func DockerArchive(ctx context.Context, file, tag string, want v1.Platform) (*Content, io.Closer, error) {
	a, err := openArchive(ctx, file)
	if err != nil {
		return nil, nil, err
	}
	c, err := dockerArchive(a, tag, want)
	if err != nil {
		a.Close()
		return nil, nil, err
	}
	return c, a, nil
}

func dockerArchive(a *archive, tag string, want v1.Platform) (*Content, error) {
	rc, err := a.open("manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("not a docker archive: it has no manifest.json")
	}
	if err != nil {
		return nil, err
	}
	raw, err := readDocument(rc)
	if err != nil {
		return nil, fmt.Errorf("manifest.json: %w", err)
	}
	var manifest tarball.Manifest
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return nil, fmt.Errorf("%w: manifest.json: %w", ErrCorrupt, err)
	}
	d, err := dockerTagged(manifest, tag)
	if err != nil {
		return nil, err
	}
	if rc, err = a.open(d.Config); err != nil {
		return nil, fmt.Errorf("%w: config: %w", ErrCorrupt, err)
	}
	if raw, err = readDocument(rc); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return dockerImage(a, d, raw, want)
}

func dockerImage(a *archive, d tarball.Descriptor, rawConfig []byte, want v1.Platform) (*Content, error) {
	digest, _, err := v1.SHA256(strings.NewReader(string(rawConfig)))
	if err != nil {
		return nil, err
	}
	if named, ok := namedDigest(d.Config); ok && named != digest {
		return nil, fmt.Errorf("%w: config %s has the digest %s", ErrCorrupt, named, digest)
	}
	c := &Content{Digest: digest}
	if c.Config, err = parseConfig(rawConfig, want); err != nil {
		return nil, fmt.Errorf("config %s: %w", digest, err)
	}
	diffIDs := c.Config.RootFS.DiffIDs
	if len(d.Layers) != len(diffIDs) || len(diffIDs) > maxLayers {
		return nil, fmt.Errorf("%w: %d layers, and the config lists %d; the limit is %d", ErrCorrupt, len(d.Layers), len(diffIDs), maxLayers)
	}
	for i, file := range d.Layers {
		s, err := a.find(file)
		if err != nil {
			return nil, fmt.Errorf("%w: layer %s: %w", ErrCorrupt, diffIDs[i], err)
		}
		c.Layers = append(c.Layers, Layer{Size: s.size, DiffID: diffIDs[i], name: file})
	}
	c.Open = func(_ context.Context, l Layer) (io.ReadCloser, error) { return a.open(l.name) }
	return c, nil
}

// namedDigest reads the digest that a config file is named by: "<hex>.json",
// "sha256:<hex>" or "blobs/sha256/<hex>".
func namedDigest(file string) (v1.Hash, bool) {
	hex := strings.TrimPrefix(strings.TrimSuffix(path.Base(file), ".json"), "sha256:")
	h, err := v1.NewHash("sha256:" + hex)
	return h, err == nil
}

func dockerTagged(m tarball.Manifest, tag string) (tarball.Descriptor, error) {
	if tag == "" {
		if len(m) == 1 {
			return m[0], nil
		}
		return tarball.Descriptor{}, fmt.Errorf("the archive holds %d images, name one: %q", len(m), repoTags(m))
	}
	want, err := name.NewTag(tag)
	if err != nil {
		return tarball.Descriptor{}, fmt.Errorf("not an image name: %w", err)
	}
	for _, d := range m {
		for _, t := range d.RepoTags {
			if have, err := name.NewTag(t); err == nil && have.Name() == want.Name() {
				return d, nil
			}
		}
	}
	return tarball.Descriptor{}, fmt.Errorf("no image is tagged %q; tags: %q", tag, repoTags(m))
}

func repoTags(m tarball.Manifest) []string {
	var tags []string
	for _, d := range m {
		tags = append(tags, d.RepoTags...)
	}
	return tags
}
