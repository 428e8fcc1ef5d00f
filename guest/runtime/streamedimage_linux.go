package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
)

// Images that the host sends, because it can attach no disk, are files of the store, mounted
// through a loop device. One that is whole has its name; what is half made has another.

const (
	// streamedDir of the pod's directory holds them, by the ids of their disks.
	streamedDir    = "streamed"
	streamedSuffix = ".ext4"
	partialSuffix  = ".part"
	// streamedSync is how much of an image is written before it has to be on the disk: what is not
	// is in memory, of which the machine may have little.
	streamedSync = 16 << 20
	// streamedSpare is what must stay free on the store beyond an image, for containers.
	streamedSpare = 16 << 20
)

var _ agent.ImageKeeper = (*Runtime)(nil)

// streamed returns where the image of a disk is once it is whole.
func (r *Runtime) streamed(disk string) (string, error) {
	if !pathSafe(disk) {
		return "", fmt.Errorf("image %q: name is not safe in a path", disk)
	}
	return r.pod(streamedDir, disk+streamedSuffix)
}

// Images implements agent.ImageKeeper.
func (r *Runtime) Images(context.Context) (map[string]int64, error) {
	dir, err := r.pod(streamedDir)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"+streamedSuffix))
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	kept := make(map[string]int64, len(files))
	for _, file := range files {
		var st unix.Stat_t
		if err := unix.Lstat(file, &st); errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		} else if err != nil {
			return nil, fmt.Errorf("list images: %s: %w", file, err)
		}
		kept[strings.TrimSuffix(filepath.Base(file), streamedSuffix)] = st.Blocks * statBlock
	}
	return kept, nil
}

// KeepImages implements agent.ImageKeeper.
func (r *Runtime) KeepImages(_ context.Context, disks []string) error {
	dir, err := r.pod(streamedDir)
	if err != nil {
		return fmt.Errorf("remove images: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove images: %w", err)
	}
	var errs []error
	for _, e := range entries {
		disk, whole := strings.CutSuffix(e.Name(), streamedSuffix)
		if whole && slices.Contains(disks, disk) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			errs = append(errs, fmt.Errorf("remove images: %w", err))
		}
	}
	return errors.Join(errs...)
}

// CreateImage implements agent.ImageKeeper.
func (r *Runtime) CreateImage(_ context.Context, disk string, size, stored int64) (agent.ImageFile, error) {
	path, err := r.streamed(disk)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, noSpace(err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &st); err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	if free := int64(st.Bavail) * st.Bsize; free-streamedSpare < stored {
		return nil, fmt.Errorf("%w: %d bytes are free, and an image of %d needs %d more than that",
			agent.ErrNoSpace, free, stored, stored+streamedSpare-free)
	}
	f, err := os.OpenFile(path+partialSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, noSpace(err)
	}
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(noSpace(err), f.Close(), os.Remove(f.Name()))
	}
	return &imageFile{f: f, path: path}, nil
}

// imageFile is an image that comes in.
type imageFile struct {
	f         *os.File
	path      string
	unsynced  int
	committed bool
}

// WriteAt implements io.WriterAt.
func (i *imageFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := i.f.WriteAt(p, off)
	i.unsynced += n
	if err == nil && i.unsynced >= streamedSync {
		err = unix.Fdatasync(int(i.f.Fd()))
		i.unsynced = 0
	}
	return n, noSpace(err)
}

// Commit implements agent.ImageFile.
func (i *imageFile) Commit() error {
	if err := i.f.Sync(); err != nil {
		return noSpace(err)
	}
	if err := os.Rename(i.f.Name(), i.path); err != nil {
		return noSpace(err)
	}
	i.committed = true
	return syncDir(filepath.Dir(i.path))
}

// Close implements agent.ImageFile.
func (i *imageFile) Close() error {
	err := i.f.Close()
	if !i.committed {
		err = errors.Join(err, os.Remove(i.f.Name()))
	}
	return err
}

// noSpace says agent.ErrNoSpace where a full store is the cause.
func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%w: %w", agent.ErrNoSpace, err)
	}
	return err
}

// isStreamed tells whether a disk is an image of the store.
func (r *Runtime) isStreamed(disk string) (bool, error) {
	path, err := r.streamed(disk)
	if err != nil {
		return false, err
	}
	_, err = os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// mountImage mounts an image at path, read-only: one of the store, else an attached disk.
func (r *Runtime) mountImage(ctx context.Context, disk, path string) error {
	image, err := r.streamed(disk)
	if err != nil {
		return err
	}
	streamed, err := r.isStreamed(disk)
	if err != nil {
		return err
	}
	if !streamed {
		return mountTemplate(ctx, disk, path)
	}
	device, err := attachLoop(image, true)
	if err != nil {
		return err
	}
	defer func() { _ = device.Close() }() // the mount holds it
	return mountTemplateAt(device.Name(), path)
}
