// Package ext4 makes blank ext4 disk images with the host's mkfs.ext4.
package ext4

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// FormatLimit bounds mkfs, which writes a few MiB whatever the size.
const FormatLimit = time.Minute

// Format makes an ext4 file system of an image, a new file of size bytes: no blocks
// reserved for root; a journal of 16 MiB on disks that can spare it, because its blocks
// never go back to the host; the inode tables are known to be zero (the file is new), so
// the guest never writes them.
func Format(ctx context.Context, path string, size int64) error {
	const smallJournal, spare = 16, 256 << 20
	args := []string{"-q", "-F", "-m", "0", "-E", "lazy_journal_init=1,root_owner=0:0"}
	if size >= spare {
		args = append(args, "-J", "size="+strconv.Itoa(smallJournal))
	}
	ctx, cancel := context.WithTimeout(ctx, FormatLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "mkfs.ext4", append(args, path)...)
	// Distributions keep it out of users' PATH.
	cmd.Env = append(cmd.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C")
	if path, err := lookSbin("mkfs.ext4"); err == nil {
		cmd.Path, cmd.Err = path, nil
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.ext4 (from e2fsprogs): %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// lookSbin finds a system administration tool.
func lookSbin(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// Create makes a sparse image (0600) of size bytes and has format make a file system of
// it. It appears under its path whole and on the disk, or not at all: it is made as
// path.new, and a half-made one of a crash is made anew. The caller sees to it that
// nobody else makes the same one at the time.
func Create(ctx context.Context, path string, size int64, format func(ctx context.Context, path string, size int64) error) (err error) {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	err = f.Truncate(size)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	// gofail: var ext4Opened struct{}
	if err := format(ctx, temp, size); err != nil {
		return err
	}
	// gofail: var ext4Formatted struct{}
	if err := syncFile(temp); err != nil {
		return err
	}
	// gofail: var ext4Synced struct{}
	return os.Rename(temp, path)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
