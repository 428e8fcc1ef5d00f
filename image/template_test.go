package image

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sparse is a file with some bytes at each of the offsets.
func sparse(t *testing.T, size int64, at map[int64]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "template.ext4")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for offset, text := range at {
		if _, err := f.WriteAt([]byte(text), offset); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTemplatePartsAreWhatIsNotZero(t *testing.T) {
	const size = 10<<20 + 3
	path := sparse(t, size, map[int64]string{0: "begin", 5 << 20: "middle", size - 2: "no"})
	tpl, err := OpenTemplate(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tpl.Close(); err != nil {
			t.Error(err)
		}
	}()
	if tpl.SizeBytes != size || tpl.StoredBytes <= 0 || tpl.StoredBytes >= size {
		t.Errorf("size %d, stored %d", tpl.SizeBytes, tpl.StoredBytes)
	}
	// Removed or not, it is read to its end.
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	got, at := make([]byte, size), []int64{}
	err = tpl.Parts(t.Context(), 4<<10, func(offset int64, data []byte) error {
		at = append(at, offset)
		copy(got[offset:], data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{0, 5 << 20, 10 << 20}, at); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(got, want) {
		t.Error("the parts are not the file")
	}
}

func TestTemplatePartsEnd(t *testing.T) {
	tpl, err := OpenTemplate(sparse(t, 1<<20, map[int64]string{0: "a", 1 << 19: "b"}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tpl.Close() }()
	full := errors.New("full")
	parts := 0
	if err := tpl.Parts(t.Context(), 4096, func(int64, []byte) error { parts++; return full }); !errors.Is(err, full) || parts != 1 {
		t.Errorf("%d parts, %v", parts, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(full)
	if err := tpl.Parts(ctx, 4096, func(int64, []byte) error { return nil }); !errors.Is(err, full) {
		t.Error(err)
	}
	// A file that became shorter is not sent as zeros.
	short := sparse(t, 1<<20, nil)
	tpl2, err := OpenTemplate(short)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tpl2.Close() }()
	if err := os.Truncate(short, 1<<19+1); err != nil {
		t.Fatal(err)
	}
	if err := tpl2.Parts(t.Context(), 4096, func(int64, []byte) error { return nil }); err == nil {
		t.Error("no error")
	}
}

func TestOpenTemplateRefuses(t *testing.T) {
	if _, err := OpenTemplate(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := OpenTemplate(t.TempDir()); err == nil {
		t.Error("a directory is opened")
	}
}
