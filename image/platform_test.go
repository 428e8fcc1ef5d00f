package image_test

import (
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/image/imagetest"
	"github.com/firkin-dev/firkin-reconcile/image/makeimage"
)

// TestTwoPlatformsOfOneReference has an index of two platforms in a layout, as build tools
// write it, and stores for both kinds of guests in one directory: each gets its own, also
// when the other was there first.
func TestTwoPlatformsOfOneReference(t *testing.T) {
	dir := t.TempDir()
	index := v1.ImageIndex(empty.Index)
	digests := map[string]string{}
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := makeimage.Image(arch, v1.Config{User: arch}, imagetest.Layer(t, makeimage.File{Path: "for-" + arch}))
		if err != nil {
			t.Fatal(err)
		}
		digests[arch] = digestOf(t, img)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	p, err := layout.Write(filepath.Join(dir, "l"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "1"})); err != nil {
		t.Fatal(err)
	}
	tarDir(t, filepath.Join(dir, "l"), filepath.Join(dir, "l.tar"))
	h := newHub(t)
	store := t.TempDir()
	for _, ref := range []string{"oci:" + filepath.Join(dir, "l") + ":1", "oci-archive:" + filepath.Join(dir, "l.tar") + ":1", h.push(t, "app:1", index)} {
		disks := map[string]string{}
		for range 2 { // the second time from the store
			for arch, digest := range digests {
				s := open(t, store, image.Options{Platform: image.Platform{Architecture: arch}})
				img := ensure(t, s, ref)
				if img.Digest != digest || img.Config.User != arch {
					t.Errorf("%s for %s: got %s, made for %s", ref, arch, img.Digest, img.Config.User)
				}
				disks[arch] = img.DiskID
			}
		}
		if disks["amd64"] == disks["arm64"] {
			t.Errorf("%s: both have disk %s", ref, disks["amd64"])
		}
	}
}
