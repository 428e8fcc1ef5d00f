package runtime

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// jail makes a directory "root" beside a "secret", with links that try to get to it.
func jail(t *testing.T) (root *os.File, outside string) {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "root")
	for _, d := range []string{"root/etc", "secret"} {
		if err := os.MkdirAll(filepath.Join(top, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, "secret/key"), []byte("outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etc/key"), []byte("inside"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"absolute": "/etc", "up": "../secret", "far": "../../../../../../etc/key", "out": filepath.Join(top, "secret"), "dangling": "nowhere",
		"self": "/proc/self/root",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := openDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, filepath.Join(top, "secret")
}

func TestOpenIn(t *testing.T) {
	root, _ := jail(t)
	for name, want := range map[string]string{
		"etc/key": "inside", "/etc/key": "inside", "absolute/key": "inside", "../etc/key": "inside", "far": "inside",
		"up/key": "", "out/key": "", "dangling": "", "self/etc/key": "",
	} {
		f, err := openIn(root, name, unix.O_RDONLY)
		if want == "" {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: opened, or %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b := make([]byte, 16)
		n, _ := f.Read(b)
		if string(b[:n]) != want {
			t.Errorf("%s: got %q", name, b[:n])
		}
		_ = f.Close()
	}
}

func TestEnsureDirIn(t *testing.T) {
	root, outside := jail(t)
	for name, want := range map[string]string{
		"a/b/c": "a/b/c", "/": ".", "absolute/new": "etc/new", "../../x": "x", "up/y": "",
		"dangling/z": "",
	} {
		f, err := ensureDirIn(root, name)
		if want == "" {
			if err == nil {
				t.Errorf("%s: no error", name)
				_ = f.Close()
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = f.Close()
		if info, err := os.Lstat(filepath.Join(root.Name(), want)); err != nil || !info.IsDir() {
			t.Errorf("%s: no directory at %s", name, want)
		}
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("something was made outside: %v %v", entries, err)
	}
}
