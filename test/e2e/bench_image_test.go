package e2e

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/firkin-dev/firkin-reconcile/image/imagetest"
	"github.com/firkin-dev/firkin-reconcile/image/makeimage"
)

// imageBytes is the size of the benchmark's images beside their shell. It does not compress.
const imageBytes = 20 << 20

// randomImage makes an image of a shell and imageBytes in 20 files, another one for each seed.
func randomImage(tb testing.TB, seed uint64) (ref string) {
	tb.Helper()
	shell, err := os.ReadFile("/bin/busybox")
	if err != nil {
		tb.Fatal(err)
	}
	files := []makeimage.File{
		{Path: "bin/"},
		{Path: "bin/busybox", Mode: 0o755, Data: shell},
		{Path: "bin/sh", Symlink: "busybox"},
		{Path: "bin/sleep", Symlink: "busybox"},
	}
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	random := rand.NewChaCha8(key)
	for i := range 20 {
		data := make([]byte, imageBytes/20)
		_, _ = random.Read(data) // which never fails
		files = append(files, makeimage.File{Path: fmt.Sprintf("data%d", i), Data: data})
	}
	return imagetest.Layout(tb, filepath.Join(tb.TempDir(), "image"), "1", imagetest.Image(tb, v1.Config{}, files...))
}

// BenchmarkNewImage is the time of an `apply` that replaces a container by one of an image of 20 MiB
// that was never used here (new-ms), and of the same image once it was used, the container being of
// another one in between (known-ms): what they differ by is its reading and unpacking.
func BenchmarkNewImage(b *testing.B) {
	h := newHost(b)
	manifest := strings.Replace(podOf("p"), "exec sleep 1000000", "trap 'exit 0' TERM; while :; do sleep 1000 \\u0026 wait; done", 1)
	apply := func(image string) time.Duration {
		h.write("p.yaml", strings.Replace(manifest, "image: $BUSYBOX", "image: "+image, 1))
		settle(b, filepath.Join(h.manifests, "p.yaml"))
		began := time.Now()
		h.must("apply", h.manifests)
		return time.Since(began)
	}
	apply("$BUSYBOX")
	var fresh, known time.Duration
	var seed uint64
	for b.Loop() {
		b.StopTimer()
		seed++
		image := randomImage(b, seed)
		b.StartTimer()
		fresh += apply(image)
		b.StopTimer()
		apply("$BUSYBOX")
		known += apply(image)
		b.StartTimer()
	}
	b.ReportMetric(float64(fresh.Milliseconds())/float64(b.N), "new-ms")
	b.ReportMetric(float64(known.Milliseconds())/float64(b.N), "known-ms")
	b.ReportMetric(0, "ns/op") // the two others tell
}
