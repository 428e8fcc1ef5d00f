package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

var (
	data = schema.Ref{Namespace: "default", Name: "data"}
	web  = schema.Ref{Namespace: "default", Name: "web"}
	db   = schema.Ref{Namespace: "default", Name: "db"}
)

// plain is a store whose "file systems" are a word at the start of the image.
func plain(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "volumes"))
	if err != nil {
		t.Fatal(err)
	}
	s.format = func(_ context.Context, path string, _ int64) error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString("formatted")
		return errors.Join(err, f.Close())
	}
	return s
}

func TestEnsure(t *testing.T) {
	s, ctx := plain(t), t.Context()
	d, err := s.Ensure(ctx, data, 5<<20+1, web)
	if err != nil {
		t.Fatal(err)
	}
	want := Disk{ID: ID(data), Path: filepath.Join(s.dir, "default_data", "disk.img"), SizeBytes: 6 << 20}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(d.ID) != 20 || d.ID[0] != 'v' {
		t.Errorf("id %q", d.ID)
	}
	info, err := os.Stat(d.Path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != 6<<20 {
		t.Errorf("%v, %v", info, err)
	}
	if again, err := s.Ensure(ctx, data, 5<<20+1, db); err != nil || again != d {
		t.Errorf("again: %v, %v", again, err)
	}
	grown, err := s.Ensure(ctx, data, 9<<20, web)
	if err != nil || grown.SizeBytes != 9<<20 {
		t.Errorf("grown: %v, %v", grown, err)
	}
	head := make([]byte, 9)
	f, err := os.Open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(head, 0); err != nil || string(head) != "formatted" {
		t.Errorf("it was made anew: %q, %v", head, err)
	}
	_, err = s.Ensure(ctx, data, 1, web)
	if shrink, ok := errors.AsType[*ShrinkError](err); !ok || shrink.Have != 9<<20 || shrink.Want != minBytes {
		t.Errorf("shrinking gives %v", err)
	}
}

func TestNames(t *testing.T) {
	s := plain(t)
	for _, ref := range []schema.Ref{{}, {Namespace: "..", Name: "x"}, {Namespace: "a_b", Name: "x"}, {Namespace: "a", Name: "../x"}} {
		if _, err := s.Ensure(t.Context(), ref, 1, web); err == nil {
			t.Errorf("made %s", ref)
		}
		if err := s.Remove(t.Context(), ref); err == nil {
			t.Errorf("removed %s", ref)
		}
	}
}

func TestHalfMadeIsRemade(t *testing.T) {
	s := plain(t)
	format := s.format
	s.format = func(context.Context, string, int64) error { return errors.New("the disk is full") }
	if _, err := s.Ensure(t.Context(), data, 1, web); err == nil {
		t.Fatal("made without a format")
	}
	dir := filepath.Join(s.dir, "default_data")
	// As a crash leaves it.
	if err := os.WriteFile(filepath.Join(dir, diskFile+".new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("listed: %v, %v", all, err)
	}
	s.format = format
	if _, err := s.Ensure(t.Context(), data, 1, web); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, diskFile+".new")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

func TestInUse(t *testing.T) {
	s, ctx := plain(t), t.Context()
	d, err := s.Ensure(ctx, data, 5<<20, web)
	if err != nil {
		t.Fatal(err)
	}
	release := hold(t, d.Path)
	_, ensureErr := s.Ensure(ctx, data, 5<<20, db)
	for _, err := range []error{ensureErr, s.Remove(ctx, data)} {
		if used, ok := errors.AsType[*InUseError](err); !ok || used.By != "default/web" {
			t.Errorf("in use gives %v", err)
		}
	}
	if same, err := s.Ensure(ctx, data, 7<<20, web); err != nil || same.SizeBytes != 5<<20 {
		t.Errorf("the pod that has it gets %v, %v", same, err)
	}
	all, err := s.List(ctx)
	if err != nil || len(all) != 1 || !all[0].InUse || all[0].User != "default/web" || all[0].SizeBytes != 5<<20 || all[0].Ref != data {
		t.Errorf("listed: %+v, %v", all, err)
	}
	release()
	if err := s.Remove(ctx, data); err != nil {
		t.Error(err)
	}
	if err := s.Remove(ctx, data); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil || len(entries) != 1 { // the lock
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestEnsureAtOnce(t *testing.T) {
	s := plain(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := s.Ensure(t.Context(), data, 1, web); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestLockWaits(t *testing.T) {
	s := plain(t)
	lock, err := s.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Ensure(ctx, data, 1, web); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
