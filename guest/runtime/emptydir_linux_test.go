package runtime

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// onDirectory makes a Runtime whose store is a plain directory.
func onDirectory(t *testing.T) *Runtime {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"emptydir", "containers", "templates"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &Runtime{podDir: dir, containers: map[string]*container{}, templates: map[string]*template{}}
}

func withEmptyDir(t *testing.T) (*Runtime, string) {
	t.Helper()
	r := onDirectory(t)
	if err := r.CreateEmptyDir(t.Context(), &agentpb.AddEmptyDirRequest{Name: "data"}); err != nil {
		t.Fatal(err)
	}
	return r, filepath.Join(r.podDir, "emptydir", "data")
}

func TestEmptyDir(t *testing.T) {
	r, dir := withEmptyDir(t)
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o777 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "f"), filepath.Join(dir, "same")); err != nil {
		t.Fatal(err)
	}
	if err := r.CreateEmptyDir(t.Context(), &agentpb.AddEmptyDirRequest{Name: "data"}); err != nil {
		t.Errorf("creating it again: %v", err)
	}
	if used, err := r.EmptyDirUsage(t.Context(), "data"); err != nil || used < 100_000 || used > 150_000 {
		t.Errorf("usage %d, %v", used, err)
	}
	for range 2 {
		if err := r.RemoveEmptyDir(t.Context(), "data"); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if err := r.RemoveEmptyDir(t.Context(), "../containers"); err == nil {
		t.Error("removed something else")
	}
}

func TestCreateFile(t *testing.T) {
	r, dir := withEmptyDir(t)
	ctx := t.Context()
	f, err := r.CreateFile(ctx, "data", "a/b/c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, "hello"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a/b/c")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there before it was committed: %v", err)
	}
	if err := errors.Join(f.Commit(), f.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	got, err := readFile(ctx, r, "a/b/c")
	if err != nil || got != "hello" {
		t.Errorf("read back %q, %v", got, err)
	}
}

func TestCreateFileAbandoned(t *testing.T) {
	r, dir := withEmptyDir(t)
	f, err := r.CreateFile(t.Context(), "data", "f")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestFilesStayInside(t *testing.T) {
	r, dir := withEmptyDir(t)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "key"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"dir": outside, "file": filepath.Join(outside, "key"), "up": "../../containers"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dir/key", "file", "up", "fifo", "."} {
		if got, err := readFile(t.Context(), r, name); err == nil {
			t.Errorf("read %q through %s", got, name)
		}
	}
	for _, name := range []string{"dir/new", "up/new"} {
		if f, err := r.CreateFile(t.Context(), "data", name); err == nil {
			t.Errorf("created %s", name)
			_ = f.Close()
		}
	}
	if _, err := readFile(t.Context(), r, "none"); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("a missing file gives %v", err)
	}
	if _, err := r.OpenFile(t.Context(), "none", "f"); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("a missing emptyDir gives %v", err)
	}
}

func readFile(ctx context.Context, r *Runtime, name string) (string, error) {
	f, err := r.OpenFile(ctx, "data", name)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(f)
	return string(data), errors.Join(err, f.Close())
}

func TestState(t *testing.T) {
	r := onDirectory(t)
	if data, err := r.LoadState(t.Context()); data != nil || err != nil {
		t.Errorf("no state gives %q, %v", data, err)
	}
	for _, want := range []string{"one", "two"} {
		if err := r.SaveState(t.Context(), []byte(want)); err != nil {
			t.Fatal(err)
		}
		if data, err := r.LoadState(t.Context()); string(data) != want || err != nil {
			t.Errorf("got %q, %v", data, err)
		}
	}
}

func TestWithoutStore(t *testing.T) {
	r := &Runtime{}
	_, loadErr := r.LoadState(t.Context())
	_, trimErr := r.Trim(t.Context())
	for _, err := range []error{loadErr, trimErr, r.CleanAll(t.Context()), r.Clean(t.Context(), "c")} {
		if !errors.Is(err, errNoStore) {
			t.Errorf("got %v", err)
		}
	}
	if err := r.CloseStore(t.Context()); err != nil {
		t.Errorf("closing a store that is not open: %v", err)
	}
}
