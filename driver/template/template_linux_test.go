package template

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const size = 8 << 20

// Names of the files of the templates that are made here.
const (
	memoryFile = "memory"
	stateFile  = "state"
)

// put makes a template with a byte here and there, and a long hole.
func put(t *testing.T, s *Store, key string) {
	t.Helper()
	memory, err := NewMemory(size)
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	for _, at := range []int64{0, 5 << 20, size - 1} {
		if _, err := memory.WriteAt([]byte{7}, at); err != nil {
			t.Fatal(err)
		}
	}
	made, err := s.Make(t.Context(), key, func(ctx context.Context, d *Draft) error {
		if err := os.WriteFile(d.Path(stateFile), []byte("state of "+key), 0o600); err != nil {
			return err
		}
		return errors.Join(d.Add(ctx, stateFile), d.Copy(ctx, memoryFile, memory))
	})
	if err != nil || !made {
		t.Fatal(made, err)
	}
}

// open opens all of a template.
func open(t *testing.T, s *Store, key string) (memory, state *os.File, release func(), err error) {
	t.Helper()
	tpl, err := s.Get(key)
	if err != nil {
		return nil, nil, nil, err
	}
	if state, err = tpl.Open(t.Context(), stateFile); err != nil {
		return nil, nil, nil, err
	}
	t.Cleanup(func() { _ = state.Close() })
	if memory, release, err = tpl.Memory(t.Context(), memoryFile); err != nil {
		return nil, nil, nil, err
	}
	t.Cleanup(func() {
		_ = memory.Close()
		release()
	})
	return memory, state, release, nil
}

func mustOpen(t *testing.T, s *Store, key string) (memory, state *os.File, release func()) {
	t.Helper()
	memory, state, release, err := open(t, s, key)
	if err != nil {
		t.Fatal(err)
	}
	return memory, state, release
}

func TestWhatIsPutIsGot(t *testing.T) {
	s := Open(filepath.Join(t.TempDir(), "templates"))
	if _, err := s.Get("k"); !errors.Is(err, ErrNone) || s.Has("k") {
		t.Errorf("get: %v", err)
	}
	put(t, s, "k")
	memory, state, _ := mustOpen(t, s, "k")
	got, err := io.ReadAll(io.NewSectionReader(memory, 0, size))
	want := make([]byte, size)
	want[0], want[5<<20], want[size-1] = 7, 7, 7
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("memory differs, %v", err)
	}
	if state, err := io.ReadAll(state); err != nil || string(state) != "state of k" {
		t.Errorf("state = %q, %v", state, err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(s.dir, "k", memoryFile), &st); err != nil || st.Blocks*512 > 4<<20 {
		t.Errorf("the file takes %d bytes, %v", st.Blocks*512, err)
	}
}

func TestMemoryIsSharedAndCannotBeChanged(t *testing.T) {
	s := Open(t.TempDir())
	put(t, s, "k")
	first, _, release := mustOpen(t, s, "k")
	second, _, _ := mustOpen(t, s, "k")
	a, b := inode(t, first), inode(t, second)
	if a != b {
		t.Error("the second reader got a copy")
	}
	if _, err := second.WriteAt([]byte{1}, 0); err == nil {
		t.Error("a template was written to")
	}
	again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", second.Fd()), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err) // as QEMU opens it
	}
	defer again.Close()
	if _, err := again.WriteAt([]byte{1}, 0); err == nil {
		t.Error("a template was written to")
	}
	mem, err := unix.Mmap(int(again.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	mem[0] = 9
	if err := unix.Munmap(mem); err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 1)
	if _, err := first.ReadAt(one, 0); err != nil || one[0] != 7 {
		t.Errorf("read %d, %v", one[0], err)
	}

	// The one who shares it leaves: who has it keeps it, and the next one loads it anew.
	release()
	third, _, _ := mustOpen(t, s, "k")
	if inode(t, third) == a {
		t.Error("memory came from who had left")
	}
}

func TestDamageIsFound(t *testing.T) {
	for _, name := range []string{memoryFile, stateFile, metaFile} {
		s := Open(t.TempDir())
		put(t, s, "k")
		path := filepath.Join(s.dir, "k", name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if err := errors.Join(os.Remove(path), os.WriteFile(path, b, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := open(t, s, "k"); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if s.Has("k") {
			t.Errorf("%s: a damaged template stays", name)
		}
	}
}

func TestOnlyTheLastUsedStay(t *testing.T) {
	s := Open(t.TempDir())
	keys := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, k := range keys {
		put(t, s, k)
	}
	n := 0
	for _, k := range keys {
		if s.Has(k) {
			n++
		}
	}
	if n != keep || !s.Has("h") {
		t.Errorf("%d templates stay", n)
	}
}

func inode(t *testing.T, f *os.File) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}
