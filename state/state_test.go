package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenMakesPrivateDirectories(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a", "b")
	d, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{d.Root(), d.Machines(), d.Images(), d.Failures(), d.Cache()} {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o700 {
			t.Errorf("%s has mode %04o, want 0700", dir, got)
		}
	}
	if _, err := Open(root); err != nil {
		t.Errorf("opening it again: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	shared := filepath.Join(t.TempDir(), "shared")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, root := range map[string]string{"writable by others": shared, "not a directory": file} {
		if _, err := Open(root); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestLockHasOneOwner(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	lock, err := d.Lock("first")
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Lock("second")
	var owned *OwnedError
	if !errors.As(err, &owned) || !strings.Contains(owned.Owner, "first") {
		t.Fatalf("second lock: %v, want an OwnedError that names the first", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := d.Lock("third")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Unlock(); err != nil {
		t.Fatal(err)
	}
}
