package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
)

// streamedFiles are the names in the folder of streamed images, sorted.
func streamedFiles(t *testing.T, r *Runtime) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.podDir, streamedDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestStreamedImages(t *testing.T) {
	r := &Runtime{podDir: t.TempDir()}
	if kept, err := r.Images(t.Context()); err != nil || len(kept) != 0 {
		t.Fatal(kept, err)
	}
	if err := r.KeepImages(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	begin := func(disk string) agent.ImageFile {
		t.Helper()
		f, err := r.CreateImage(t.Context(), disk, 8<<20, 4096)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("end"), 8<<20-3); err != nil {
			t.Fatal(err)
		}
		return f
	}
	given := begin("given-up")
	if got := streamedFiles(t, r); !slices.Equal(got, []string{"given-up.ext4.part"}) {
		t.Errorf("while it is made: %q", got)
	}
	if kept, err := r.Images(t.Context()); err != nil || len(kept) != 0 {
		t.Error("half an image is kept", kept, err)
	}
	if err := given.Close(); err != nil {
		t.Error(err)
	}
	for _, disk := range []string{"i1", "i2"} {
		f := begin(disk)
		if err := errors.Join(f.Commit(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := r.Images(t.Context())
	if err != nil || len(kept) != 2 || kept["i1"] <= 0 || kept["i1"] > 1<<20 {
		t.Errorf("kept %v, %v", kept, err)
	}
	for disk, want := range map[string]bool{"i1": true, "i3": false, "given-up": false} {
		if got, err := r.isStreamed(disk); got != want || err != nil {
			t.Errorf("%s: %v, %v", disk, got, err)
		}
	}
	data, err := os.ReadFile(filepath.Join(r.podDir, streamedDir, "i1.ext4"))
	if err != nil || len(data) != 8<<20 || string(data[8<<20-3:]) != "end" || data[0] != 0 {
		t.Errorf("the image has %d bytes, %v", len(data), err)
	}
	// What a crash leaves goes, too.
	crashed := begin("crashed").(*imageFile)
	if err := crashed.f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.KeepImages(t.Context(), []string{"i2", "crashed"}); err != nil {
		t.Fatal(err)
	}
	if got := streamedFiles(t, r); !slices.Equal(got, []string{"i2.ext4"}) {
		t.Errorf("kept %q", got)
	}
}

func TestStreamedImageWithoutRoom(t *testing.T) {
	r := &Runtime{podDir: t.TempDir()}
	if _, err := r.CreateImage(t.Context(), "i1", 1<<60, 1<<60); !errors.Is(err, agent.ErrNoSpace) {
		t.Error(err)
	}
	if _, err := r.CreateImage(t.Context(), "../i1", 1, 1); err == nil || errors.Is(err, agent.ErrNoSpace) {
		t.Error(err)
	}
	if err := noSpace(&os.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}); !errors.Is(err, agent.ErrNoSpace) {
		t.Error(err)
	}
	if err := noSpace(unix.EIO); errors.Is(err, agent.ErrNoSpace) {
		t.Error(err)
	}
	if got := streamedFiles(t, r); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}
