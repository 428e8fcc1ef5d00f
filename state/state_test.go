package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unicode"
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

func TestOpenHeedsNoUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	d, err := Open(filepath.Join(t.TempDir(), "a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	lock, err := d.Lock("me")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	for path, want := range map[string]os.FileMode{
		d.Root(): 0o700, filepath.Dir(d.Root()): 0o700, d.Machines(): 0o700, d.Images(): 0o700,
		d.Failures(): 0o700, d.Cache(): 0o700, filepath.Join(d.Root(), "lock"): 0o600,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %04o, %v; want %04o", path, info.Mode().Perm(), err, want)
		}
	}
}

func TestOpenThroughLinks(t *testing.T) {
	dir := t.TempDir()
	link, target := filepath.Join(dir, "link"), filepath.Join(dir, "target")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link); err == nil {
		t.Error("a dangling link was opened")
	}
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := Open(link)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := d.Lock("first")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	// By whichever name, it is one directory with one owner.
	direct, err := Open(target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := direct.Lock("second"); err == nil || direct.Root() != d.Root() {
		t.Errorf("locked %s and %s, %v", d.Root(), direct.Root(), err)
	}
	if err := os.Chmod(target, 0o770); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link); err == nil {
		t.Error("a link to a directory that others may write to was opened")
	}
}

func TestOpenRefusesOpenSubdirectories(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.Machines(), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(d.Root()); err == nil || !strings.Contains(err.Error(), "others may write") {
		t.Errorf("error %v", err)
	}
	if _, err := Open(""); err == nil {
		t.Error("no path was opened")
	}
}

func TestDefault(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "relative")
	t.Setenv("HOME", "/home/me")
	dir, err := Default()
	want := "/home/me/.local/state/firkin"
	if os.Geteuid() == 0 {
		want = "/var/lib/firkin"
	}
	if err != nil || dir != want {
		t.Errorf("%s, %v; want %s", dir, err, want)
	}
}

func TestLockRaces(t *testing.T) {
	root := filepath.Join(t.TempDir(), "new")
	var owners atomic.Int32
	var g sync.WaitGroup
	locks := make(chan *Lock, 100)
	for range 100 {
		g.Go(func() {
			d, err := Open(root)
			if err != nil {
				t.Error(err)
				return
			}
			lock, err := d.Lock("racer")
			var owned *OwnedError
			switch {
			case err == nil:
				owners.Add(1)
				locks <- lock
			case !errors.As(err, &owned):
				t.Error(err)
			}
		})
	}
	g.Wait()
	if owners.Load() != 1 {
		t.Errorf("%d owners", owners.Load())
	}
	close(locks)
	for lock := range locks {
		if err := lock.Unlock(); err != nil {
			t.Error(err)
		}
	}
}

func TestLockAfterACrash(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.Root(), "lock")
	// What a killed owner left, longer than what comes now.
	if err := os.WriteFile(path, []byte("pid 1: "+strings.Repeat("old owner ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	lock, err := d.Lock("new\x1b[2J\nowner")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	want := fmt.Sprintf("pid %d: new [2J owner\n", os.Getpid())
	if b, err := os.ReadFile(path); err != nil || string(b) != want {
		t.Errorf("lock says %q, %v; want %q", b, err, want)
	}
}

func TestOwnersWordsAreFitForATerminal(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	lock, err := d.Lock("first")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	path := filepath.Join(d.Root(), "lock")
	for text, want := range map[string]string{
		"":                              "another process",
		"\n\x00\t":                      "another process",
		"a\x1b]0;title\a\nb":            "a ]0;title b",
		"\xff\u202eevil":                "? evil",
		strings.Repeat("x", maxOwner*2): strings.Repeat("x", maxOwner),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := d.Lock("second")
		var owned *OwnedError
		if !errors.As(err, &owned) || owned.Owner != want {
			t.Errorf("%q: %v, want owner %q", text, err, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("pid 1: a\x1b[2J\n")
	f.Fuzz(func(t *testing.T, text string) {
		got := printable(text)
		if printable(got) != got || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q became %q", text, got)
		}
	})
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

func TestLockIsLostWithItsFile(t *testing.T) {
	d, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	lock, err := d.Lock("me")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	if lock.Lost() {
		t.Error("it is lost at once")
	}
	path := filepath.Join(d.Root(), "lock")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !lock.Lost() {
		t.Error("it is not lost without its file")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !lock.Lost() {
		t.Error("it is not lost to another file")
	}
}
