// Package imagetest makes images for tests.
package imagetest

import (
	"runtime"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/firkin-dev/firkin-reconcile/image/makeimage"
)

// Image makes an image of one layer for this machine's architecture.
func Image(t testing.TB, cfg v1.Config, files ...makeimage.File) v1.Image {
	t.Helper()
	return Layers(t, cfg, Layer(t, files...))
}

// Layers makes an image of layers, lowest first, for this machine's architecture.
func Layers(t testing.TB, cfg v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := makeimage.Image(runtime.GOARCH, cfg, layers...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// Layer makes a layer.
func Layer(t testing.TB, files ...makeimage.File) v1.Layer {
	t.Helper()
	l, err := makeimage.Layer(files...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Layout writes an image as the OCI layout dir, tagged tag, and returns its reference.
func Layout(t testing.TB, dir, tag string, img v1.Image) string {
	t.Helper()
	if err := makeimage.WriteLayout(dir, map[string]v1.Image{tag: img}); err != nil {
		t.Fatal(err)
	}
	return "oci:" + dir + ":" + tag
}
