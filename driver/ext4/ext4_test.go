package ext4_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/driver/ext4"
)

func TestCreate(t *testing.T) {
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, tool := range []string{"mkfs.ext4", "e2fsck"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	const size = 1 << 30
	path := filepath.Join(t.TempDir(), "disk.img")
	// As a crash leaves it.
	if err := os.WriteFile(path+".new", []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := ext4.Create(t.Context(), path, size, ext4.Format); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != size || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Blocks*512 > size/20 {
		t.Errorf("it occupies %d KiB", st.Blocks/2)
	}
	if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestCreateFails(t *testing.T) {
	want := errors.New("no")
	dir := t.TempDir()
	err := ext4.Create(t.Context(), filepath.Join(dir, "disk.img"), 1<<20, func(context.Context, string, int64) error { return want })
	if !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
	if err := ext4.Create(t.Context(), filepath.Join(dir, "none", "disk.img"), 1<<20, ext4.Format); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
