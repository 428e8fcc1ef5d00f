package runtime

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// emptyDir is the path of an emptyDir, whether it is there or not.
func (r *Runtime) emptyDir(name string) (string, error) {
	if !pathSafe(name) {
		return "", fmt.Errorf("emptyDir %q: name is not safe in a path", name)
	}
	return r.pod("emptydir", name)
}

// emptyDirMode is what a new emptyDir has.
const emptyDirMode = 0o777

// CreateEmptyDir implements agent.Runtime.
func (r *Runtime) CreateEmptyDir(ctx context.Context, dir *agentpb.AddEmptyDirRequest) error {
	path, err := r.emptyDir(dir.GetName())
	if err != nil {
		return err
	}
	if err := r.createEmptyDir(ctx, path, dir); err != nil {
		return fmt.Errorf("create emptyDir %s: %w", dir.GetName(), err)
	}
	return nil
}

func (r *Runtime) createEmptyDir(ctx context.Context, path string, dir *agentpb.AddEmptyDirRequest) error {
	// Mode 0 stands for one that is not finished: later its mode is its users'.
	err := os.Mkdir(path, 0)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm() == 0 {
		if err := os.Chmod(path, emptyDirMode); err != nil {
			return err
		}
	}
	switch limit := dir.GetSizeLimitBytes(); {
	case dir.GetMemory():
		err = mountMemory(path, limit)
	case limit > 0:
		err = r.mountSized(ctx, dir.GetName(), path, limit)
	}
	if err != nil {
		return err
	}
	if gid := r.group(); gid != nil {
		return ownTree(ctx, path, *gid)
	}
	return nil
}

// mountMemory mounts a tmpfs of at most limit bytes, of the kernel's default size for 0.
func mountMemory(path string, limit int64) error {
	if mounted, err := isMount(path); err != nil || mounted {
		return err
	}
	options := "mode=0777"
	if limit > 0 {
		options += ",size=" + strconv.FormatInt(limit, 10)
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	return nil
}

// RemoveEmptyDir implements agent.Runtime.
func (r *Runtime) RemoveEmptyDir(_ context.Context, name string) error {
	path, err := r.emptyDir(name)
	if err != nil {
		return err
	}
	err = detachAll(path)
	if err == nil {
		err = os.RemoveAll(path)
	}
	if err == nil {
		err = r.removeImage(name)
	}
	if err != nil {
		return fmt.Errorf("remove emptyDir: %w", err)
	}
	return nil
}

// closeEmptyDir unmounts what is mounted at an emptyDir's path, with all of it written out.
func closeEmptyDir(path string) error {
	mounted, err := isMount(path)
	if err != nil || !mounted {
		return err
	}
	return errors.Join(syncMount(path), detachAll(path))
}

// EmptyDirUsage implements agent.Runtime.
func (r *Runtime) EmptyDirUsage(ctx context.Context, name string) (int64, error) {
	root, err := r.emptyDirRoot(name)
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }() // only read
	dir, err := root.Open(".")
	if err != nil {
		return 0, fmt.Errorf("emptyDir usage: %w", err)
	}
	defer func() { _ = dir.Close() }() // only read
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return 0, fmt.Errorf("emptyDir usage: %w", err)
	}
	if sized, err := r.isSized(name); err != nil || sized || st.Type == unix.TMPFS_MAGIC {
		if err != nil {
			return 0, fmt.Errorf("emptyDir usage: %w", err)
		}
		return int64(st.Blocks-st.Bfree) * st.Bsize, nil
	}
	used, err := diskUsage(ctx, root.FS())
	if err != nil {
		return 0, fmt.Errorf("emptyDir usage: %w", err)
	}
	return used, nil
}

// diskUsage adds up what files occupy, each inode once. Files that go away
// meanwhile are no error.
func diskUsage(ctx context.Context, root fs.FS) (int64, error) {
	const block = 512 // the unit of st_blocks
	var used int64
	seen := map[uint64]bool{}
	err := fs.WalkDir(root, ".", func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		st, ok := statOf(info)
		if !ok || seen[st.Ino] {
			return nil
		}
		if st.Nlink > 1 && !d.IsDir() {
			seen[st.Ino] = true
		}
		used += st.Blocks * block
		return nil
	})
	return used, err
}

func (r *Runtime) emptyDirRoot(name string) (*os.Root, error) {
	path, err := r.emptyDir(name)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("emptyDir %s: %w", name, agent.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("emptyDir %s: %w", name, err)
	}
	return root, nil
}

// OpenFile implements agent.Runtime.
func (r *Runtime) OpenFile(_ context.Context, emptyDir, name string) (io.ReadCloser, error) {
	root, err := r.emptyDirRoot(emptyDir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // the file stays open
	// Non-blocking: opening a FIFO would wait for a writer.
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %s in emptyDir %s: %w", name, emptyDir, agent.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open file in emptyDir %s: %w", emptyDir, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s in emptyDir %s: %w", name, emptyDir, err), f.Close())
	}
	return f, nil
}

// CreateFile implements agent.Runtime.
func (r *Runtime) CreateFile(_ context.Context, emptyDir, name string) (agent.AtomicFile, error) {
	root, err := r.emptyDirRoot(emptyDir)
	if err != nil {
		return nil, err
	}
	f, err := newAtomicFile(root, name)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create file in emptyDir %s: %w", emptyDir, err), root.Close())
	}
	return f, nil
}

// atomicFile is written beside its place and moved there when committed.
type atomicFile struct {
	root      *os.Root
	file      *os.File
	temp      string
	name      string
	committed bool
}

func newAtomicFile(root *os.Root, name string) (*atomicFile, error) {
	dir := path.Dir(name)
	if dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	temp := path.Join(dir, ".firkin-"+rand.Text())
	file, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	return &atomicFile{root: root, file: file, temp: temp, name: name}, nil
}

func (f *atomicFile) Write(p []byte) (int, error) { return f.file.Write(p) }

// Commit implements agent.AtomicFile.
func (f *atomicFile) Commit() error {
	err := errors.Join(f.file.Chmod(0o644), f.file.Sync())
	if err == nil {
		err = f.root.Rename(f.temp, f.name)
	}
	if err != nil {
		return fmt.Errorf("commit %s: %w", f.name, err)
	}
	f.committed = true
	dir, err := f.root.Open(path.Dir(f.name))
	if err != nil {
		return fmt.Errorf("commit %s: %w", f.name, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("commit %s: %w", f.name, err)
	}
	return nil
}

// Close implements agent.AtomicFile. It may be called more than once.
func (f *atomicFile) Close() error {
	if f.root == nil {
		return nil
	}
	err := f.file.Close()
	if !f.committed {
		if rmErr := f.root.Remove(f.temp); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}
	err = errors.Join(err, f.root.Close())
	f.root = nil
	return err
}
