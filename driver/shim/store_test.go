package shim

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/ext4"
)

func testDriver(t *testing.T, change func(*Options)) *Driver {
	t.Helper()
	base := t.TempDir()
	opt := Options{Dir: filepath.Join(base, "m"), Command: []string{"false"}, Log: logr.Discard()}
	if change != nil {
		change(&opt)
	}
	d, err := NewDriver(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestStoreIsSparseCleanAndMadeOnce(t *testing.T) {
	e2fsck, err := exec.LookPath("e2fsck")
	if err != nil {
		t.Skip(err)
	}
	var made atomic.Int32
	d := testDriver(t, func(o *Options) {
		o.Format = func(ctx context.Context, path string, size int64) error {
			made.Add(1)
			return ext4.Format(ctx, path, size)
		}
	})
	const size = 1 << 30
	dir := t.TempDir()
	var wg sync.WaitGroup
	names := []string{"a", "b", "c", "d"}
	for _, name := range names {
		wg.Go(func() {
			if err := d.makeStore(t.Context(), filepath.Join(dir, name), size); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("formatted %d times", n)
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil || info.Size() != size || info.Mode().Perm() != 0o600 {
			t.Fatalf("store is %v, %v", info, err)
		}
		if n, err := allocated(path); err != nil || n > 8<<20 {
			t.Errorf("store occupies %d bytes, %v", n, err)
		}
		if out, err := exec.Command(e2fsck, "-fn", path).CombinedOutput(); err != nil {
			t.Errorf("e2fsck: %v: %s", err, out)
		}
	}
}

func TestFormatFailureLeavesNothing(t *testing.T) {
	d := testDriver(t, func(o *Options) {
		o.Format = func(context.Context, string, int64) error { return context.DeadlineExceeded }
	})
	id := "00000000-0000-4000-8000-000000000001"
	if _, err := d.lay(t.Context(), driver.Spec{ID: id, StoreBytes: 1 << 20}); err == nil {
		t.Fatal("made")
	}
	for _, dir := range []string{d.opt.Dir, d.opt.BlankDir} {
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			if e.Name() != lockFile {
				t.Errorf("left %s", e.Name())
			}
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func TestSweepTakesOnlyGarbage(t *testing.T) {
	d := testDriver(t, nil)
	old := time.Now().Add(-2 * garbageAge)
	mk := func(name string, aged, withLock bool) string {
		dir := filepath.Join(d.opt.Dir, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if withLock {
			if err := os.WriteFile(filepath.Join(dir, lockFile), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if aged {
			if err := os.Chtimes(dir, old, old); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	id := "00000000-0000-4000-8000-00000000000"
	tests := []struct {
		dir  string
		stay bool
	}{
		{mk(newPrefix+"young", false, true), true},
		{mk(newPrefix+"old", true, true), false},
		{mk(newPrefix+"unlocked", true, false), false},
		{mk(goingPrefix+"old", true, false), false},
		{mk(newPrefix+"held", true, true), true},
		{mk(id+"1", true, false), true}, // a machine whose lock somebody took away
		{mk("notes", true, false), true},
	}
	lock, err := take(t.Context(), filepath.Join(d.opt.Dir, newPrefix+"held"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	all, err := d.Machines(t.Context())
	if err != nil || len(all) != 1 || all[0].ID() != id+"1" {
		t.Errorf("machines = %v, %v", all, err)
	}
	if i, err := all[0].Info(t.Context()); err != nil || i.State != driver.StateUnknown {
		t.Errorf("info = %+v, %v", i, err)
	}
	for _, tt := range tests {
		if exists(tt.dir) != tt.stay {
			t.Errorf("%s: stays %t, want %t", filepath.Base(tt.dir), exists(tt.dir), tt.stay)
		}
	}
}

func TestLockKnowsProbesFromHolders(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, lockFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := free(dir); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 50 {
		f, err := take(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if idle, err := free(dir); err != nil || idle {
			t.Fatalf("free while held: %t, %v", idle, err)
		}
		if _, err := take(t.Context(), dir); err == nil {
			t.Fatal("taken twice")
		}
		f.Close()
	}
	close(stop)
	wg.Wait()
}
