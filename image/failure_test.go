package image_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/image/imagetest"
	"github.com/firkin-dev/firkin-reconcile/image/makeimage"
)

// noise is a file that does not compress.
func noise(name string, size int) makeimage.File {
	b := make([]byte, size)
	var seed [32]byte
	_, _ = rand.NewChaCha8(seed).Read(b)
	return makeimage.File{Path: name, Data: b}
}

func TestCancelledBuild(t *testing.T) {
	ref := imagetest.Layout(t, t.TempDir(), "1", imagetest.Image(t, v1.Config{}, noise("n", 8<<20)))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the user's choice")
	dir := t.TempDir()
	s := open(t, dir, image.Options{Progress: func(p image.Progress) {
		if p.Done > 0 {
			cancel(why)
		}
	}})
	_, err := s.Ensure(ctx, ref, "", "")
	if _, is := errors.AsType[*image.PullError](err); is || !errors.Is(err, why) {
		t.Errorf("got %v, want the cause of the end", err)
	}
	wantNothingLeft(t, dir)
	if _, err := s.Ensure(t.Context(), ref, "", ""); err != nil {
		t.Errorf("the lock is still held, or worse: %v", err)
	}
}

func TestProgress(t *testing.T) {
	ref := imagetest.Layout(t, t.TempDir(), "1", imagetest.Layers(t, v1.Config{}, imagetest.Layer(t, noise("a", 3<<20)), imagetest.Layer(t, hello)))
	var all []image.Progress
	ensure(t, open(t, t.TempDir(), image.Options{Progress: func(p image.Progress) { all = append(all, p) }}), ref)
	if len(all) < 4 || all[0].Done != 0 || all[len(all)-1].Done != all[0].Total || all[0].Total < 3<<20 || all[0].Ref != ref {
		t.Errorf("got %+v", all)
	}
}

// TestUnreadableRecords has every file of the store but the template damaged: the image is
// made again, nothing fails.
func TestUnreadableRecords(t *testing.T) {
	ref := imagetest.Layout(t, t.TempDir(), "1", imagetest.Image(t, v1.Config{}, hello))
	dir := t.TempDir()
	first := ensure(t, open(t, dir, image.Options{}), ref)
	for _, sub := range []string{"images", "refs"} {
		files, err := filepath.Glob(filepath.Join(dir, sub, "*.json"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		if err := os.WriteFile(files[0], []byte(`{"half`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir, image.Options{})
	list, err := s.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Digest != first.Digest {
		t.Errorf("list: %+v, %v", list, err)
	}
	if got := ensure(t, s, ref); got.Digest != first.Digest {
		t.Errorf("got %+v", got)
	}
}

// TestZerosTakeNoSpace: what compresses a thousandfold is cheap on the host too.
func TestZerosTakeNoSpace(t *testing.T) {
	ref := imagetest.Layout(t, t.TempDir(), "1", imagetest.Image(t, v1.Config{}, makeimage.File{Path: "z", Data: make([]byte, 32<<20)}))
	img := ensure(t, open(t, t.TempDir(), image.Options{}), ref)
	list, err := open(t, filepath.Dir(filepath.Dir(img.TemplatePath)), image.Options{}).List(t.Context())
	if err != nil || len(list) != 1 || list[0].DiskBytes > 1<<20 {
		t.Errorf("32 MiB of zeros: %+v, %v; want holes", list, err)
	}
}
