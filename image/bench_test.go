package image_test

import (
	"math/rand/v2"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/image/imagetest"
	"github.com/firkin-dev/firkin-reconcile/image/makeimage"
)

// BenchmarkTemplate builds the template of an image of 64 files of 1 MiB that compress to
// about half; the rate is that of the unpacked files.
func BenchmarkTemplate(b *testing.B) {
	const n, size = 64, 1 << 20
	rng := rand.New(rand.NewPCG(1, 2))
	files := manyFiles(n)
	for i := range files {
		files[i].Data = make([]byte, size)
		for j := range files[i].Data {
			files[i].Data[j] = byte(rng.IntN(16))
		}
	}
	benchmarkTemplate(b, n*size, files)
}

// BenchmarkTemplateManyFiles builds one of 100,000 small files.
func BenchmarkTemplateManyFiles(b *testing.B) {
	const n = 100_000
	files := manyFiles(n)
	for i := range files {
		files[i].Data = []byte(files[i].Path)
	}
	benchmarkTemplate(b, n*4096, files)
}

func benchmarkTemplate(b *testing.B, bytes int64, files []makeimage.File) {
	ref := imagetest.Layout(b, b.TempDir(), "1", imagetest.Image(b, v1.Config{}, files...))
	b.SetBytes(bytes)
	b.ReportAllocs()
	for b.Loop() {
		ensure(b, open(b, b.TempDir(), image.Options{}), ref)
	}
}
