package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What a volume's group gets, as the kubelet gives it: to read and write, and in
// directories to enter and to inherit.
const (
	groupFile = 0o660
	groupDir  = unix.S_ISGID | 0o110 | groupFile
	groupRead = 0o440
)

// group is the group that owns the pod's volumes, nil when there is none.
func (r *Runtime) group() *int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fsGroup
}

// ownTree gives a directory and all in it to a group. One whose root has it already is
// left as it is: what is made in it inherits. No container may have it meanwhile.
func ownTree(ctx context.Context, root string, gid int) error {
	var st unix.Stat_t
	if err := unix.Lstat(root, &st); err != nil {
		return fmt.Errorf("give volume to group %d: %w", gid, err)
	}
	if int(st.Gid) == gid && st.Mode&groupDir == groupDir {
		return nil
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err := errors.Join(err, context.Cause(ctx)); err != nil {
			return err
		}
		if path == root {
			return nil
		}
		return own(path, gid, d.Type())
	})
	// The root is last: a walk that did not come to its end is done again.
	if err == nil {
		err = own(root, gid, fs.ModeDir)
	}
	if err != nil {
		return fmt.Errorf("give volume to group %d: %w", gid, err)
	}
	return nil
}

func own(path string, gid int, typ fs.FileMode) error {
	if err := os.Lchown(path, -1, gid); err != nil {
		return err
	}
	var mask uint32 = groupFile
	switch {
	case typ&fs.ModeSymlink != 0:
		return nil
	case typ.IsDir():
		mask = groupDir
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	// Nobody else is at work here, so that the path cannot become a link.
	return unix.Chmod(path, st.Mode&^unix.S_IFMT|mask)
}
