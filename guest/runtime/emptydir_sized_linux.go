package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A disk emptyDir with a size limit is an ext4 file system of its own in an image on the
// store, mounted through a loop device: who writes past its end gets ENOSPC, and asks
// for the free space get the truth. (Quotas of ext4 projects give EDQUOT instead, and a
// container that may set attributes can leave its project.)
//
// The image is sparse, but all its blocks of the store are reserved: the file system
// inside cannot bear that a block it counts on is refused. Reserving takes no space of the
// host. A limit beyond half of what the store has left becomes that half, so that there is
// room for the rest of the pod.

const (
	// imagesDir of the pod's directory holds the images.
	imagesDir   = "images"
	imageSuffix = ".img"
)

func (r *Runtime) image(name string) (string, error) {
	return r.pod(imagesDir, name+imageSuffix)
}

// mountSized makes a disk emptyDir of limited size and mounts it at path.
func (r *Runtime) mountSized(ctx context.Context, name, path string, limit int64) error {
	if mounted, err := isMount(path); err != nil || mounted {
		return err
	}
	image, err := r.image(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(image); errors.Is(err, fs.ErrNotExist) {
		if full, err := hasEntries(path); err != nil || full {
			// From before limits were enforced. Mounting over it would hide its files.
			r.log.Info("an emptyDir that has files already stays without a size limit", "emptyDir", name)
			return err
		}
		most, err := largestSized(filepath.Dir(path))
		if err != nil {
			return err
		}
		if limit > most {
			r.log.Info("the store has no room for an emptyDir's size limit: it is smaller", "emptyDir", name, "limit", limit, "size", most)
			limit = most
		}
		if err := r.makeImage(ctx, image, imageFor(limit)); err != nil {
			return err
		}
	}
	device, err := attachLoop(image, false)
	if err != nil {
		return err
	}
	defer func() { _ = device.Close() }() // the mount holds it
	if err := unix.Mount(device.Name(), path, "ext4", unix.MS_NODEV, "nodiscard,errors=remount-ro"); err != nil {
		return fmt.Errorf("mount %s: %w", device.Name(), err)
	}
	return finishSized(path)
}

// finishSized makes a fresh file system an emptyDir: open to all, and empty. What mkfs
// has put into it, by its inode of an empty directory, tells a fresh one and goes last.
func finishSized(path string) error {
	const firstInode = 11 // of ext4, for lost+found
	left := filepath.Join(path, lostFound)
	var st unix.Stat_t
	if err := unix.Lstat(left, &st); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if st.Ino != firstInode || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	if full, err := hasEntries(left); err != nil || full {
		return err
	}
	if err := os.Chmod(path, emptyDirMode); err != nil {
		return err
	}
	return unix.Rmdir(left)
}

func hasEntries(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	return len(entries) > 0, err
}

// makeImage makes a formatted image, whole or not at all.
func (r *Runtime) makeImage(ctx context.Context, image string, g geometry) error {
	if err := os.MkdirAll(filepath.Dir(image), 0o700); err != nil {
		return err
	}
	temp := image + ".new"
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // synced
	if err := f.Truncate(g.bytes); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, formatLimit)
	defer cancel()
	out, err := r.run(ctx, slices.Concat([]string{mkfsProgram}, g.mkfs(), []string{temp})...)
	if err != nil {
		return fmt.Errorf("format: %w: %s", err, bytes.TrimSpace(out))
	}
	if err := errors.Join(reserve(temp), f.Sync()); err != nil {
		return err
	}
	if err := os.Rename(temp, image); err != nil {
		return err
	}
	return syncDir(filepath.Dir(image))
}

// largestSized is the largest limit that is kept for an emptyDir on the store that dir is on.
func largestSized(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize / 2, nil
}

// reserve gives an image all its blocks of the store.
func reserve(image string) error {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // nothing is written
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for {
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, info.Size())
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reserve %d bytes of the store: %w", info.Size(), err)
		}
		return nil
	}
}

// statBlock is the unit of st_blocks.
const statBlock = 512

// removeImage removes the image of an emptyDir; a missing one is fine.
func (r *Runtime) removeImage(name string) error {
	image, err := r.image(name)
	if err != nil {
		return err
	}
	for _, path := range []string{image, image + ".new"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sizedDirs are the images there are, by the paths their file systems are mounted at.
func (r *Runtime) sizedDirs() (map[string]string, error) {
	dir, err := r.pod()
	if err != nil {
		return nil, err
	}
	images, err := filepath.Glob(filepath.Join(dir, imagesDir, "*"+imageSuffix))
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, image := range images {
		path := filepath.Join(dir, "emptydir", strings.TrimSuffix(filepath.Base(image), imageSuffix))
		mounted, err := isMount(path)
		if err != nil {
			return nil, err
		}
		if mounted {
			found[path] = image
		}
	}
	return found, nil
}

// reservedBytes is what images occupy of the store beyond what is in them.
func (r *Runtime) reservedBytes() (int64, error) {
	dirs, err := r.sizedDirs()
	if err != nil {
		return 0, err
	}
	var sum int64
	for path, image := range dirs {
		var inside unix.Statfs_t
		var st unix.Stat_t
		if err := errors.Join(unix.Statfs(path, &inside), unix.Stat(image, &st)); err != nil {
			return 0, err
		}
		sum += max(0, st.Blocks*statBlock-int64(inside.Blocks-inside.Bfree)*inside.Bsize)
	}
	return sum, nil
}

// trimSized gives the free blocks of the images back to the store, without what is
// reserved, for the store to give them back to the host. again reserves them anew.
func (r *Runtime) trimSized() (again func() error, err error) {
	dirs, err := r.sizedDirs()
	if err != nil {
		return nil, err
	}
	for path := range dirs {
		if syncErr := syncMount(path); syncErr != nil {
			err = errors.Join(err, syncErr)
			continue
		}
		if _, trimErr := trimMount(path); trimErr != nil {
			err = errors.Join(err, trimErr)
		}
	}
	return func() error {
		var err error
		for _, image := range dirs {
			err = errors.Join(err, reserve(image))
		}
		return err
	}, err
}

// isSized tells whether an emptyDir has a file system of its own on the store.
func (r *Runtime) isSized(name string) (bool, error) {
	image, err := r.image(name)
	if err != nil {
		return false, err
	}
	path, err := r.emptyDir(name)
	if err != nil {
		return false, err
	}
	if _, err := os.Stat(image); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return isMount(path)
}
