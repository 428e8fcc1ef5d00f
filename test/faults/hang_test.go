//go:build linux

package faults

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

// silentDisk mounts a file system over dir that never answers. The returned function takes it away.
func silentDisk(t testing.TB, dir string) (undo func()) {
	t.Helper()
	fuse := mountFuse(t, dir)
	return func() {
		// Whoever waits for an answer gets an error now.
		if err := errors.Join(syscall.Close(fuse), syscall.Unmount(dir, syscall.MNT_DETACH)); err != nil {
			t.Error(err)
		}
	}
}

// TestDirectoryHangs has the manifests' file system not answer at all, as one of a network
// whose server is gone, while run watches them.
func TestDirectoryHangs(t *testing.T) {
	const most, ends = time.Minute, 30 * time.Second
	var told, ended, applied time.Duration
	figure(t, "24b", func() string {
		return fmt.Sprintf("manifests that never answer: told within %s (at most %s), 0 actions wanted, run ended by TERM within %s (at most %s); a change applied within %s of their return",
			told.Round(time.Second), most, ended.Round(100*time.Millisecond), ends, applied.Round(100*time.Millisecond))
	})
	long(t)
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no FUSE here")
	}
	f := borrow(t)
	before, actions, held := f.photograph(t), f.actions(t), f.heldBack(t)
	d := f.start(t)
	rest(t, time.Second)
	undo := silentDisk(t, f.manifests)
	began := time.Now()
	within(t, most, "run tells that the manifests do not answer", func() bool { return f.heldBack(t) > held })
	told = time.Since(began)
	undo()
	f.specs[0].look++
	f.write(t, f.specs[0])
	applied = f.adopted(t, f.specs[0])
	if n := f.actions(t) - actions; n != 0 {
		t.Errorf("%d actions", n)
	}

	undo = silentDisk(t, f.manifests)
	rest(t, 2*time.Second)
	began = time.Now()
	d.end(syscall.SIGTERM)
	if ended = time.Since(began); ended > ends {
		t.Errorf("run took %s to end", ended)
	}
	undo()
	f.untouched(t, before)
}
