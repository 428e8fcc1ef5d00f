package shim

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

	"golang.org/x/sys/unix"
)

// blankVersion names the way blank stores are made; a change makes new ones.
const blankVersion = 1

// formatLimit bounds mkfs, which writes a few MiB whatever the size.
const formatLimit = time.Minute

// mkfsExt4 formats a store: no blocks reserved for root; a journal of 16 MiB on
// disks that can spare it, because its blocks never go back to the host; the inode
// tables are known to be zero (the file is new), so the guest never writes them.
func mkfsExt4(ctx context.Context, path string, size int64) error {
	const smallJournal, spare = 16, 256 << 20
	args := []string{"-q", "-F", "-m", "0", "-E", "lazy_journal_init=1,root_owner=0:0"}
	if size >= spare {
		args = append(args, "-J", "size="+strconv.Itoa(smallJournal))
	}
	ctx, cancel := context.WithTimeout(ctx, formatLimit)
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

// makeStore makes a machine's store, a sparse copy of the blank one of its size.
func (d *Driver) makeStore(ctx context.Context, path string, size int64) error {
	blank, err := d.blank(ctx, size)
	if err != nil {
		return fmt.Errorf("make store: %w", err)
	}
	if err := cloneSparse(path, blank); err != nil {
		return fmt.Errorf("make store: %w", err)
	}
	return nil
}

// blank returns the blank store of a size, made once for all machines and
// processes: whoever is first makes it under another name and renames it.
func (d *Driver) blank(ctx context.Context, size int64) (string, error) {
	path := filepath.Join(d.opt.BlankDir, fmt.Sprintf("v%d-%d.img", blankVersion, size))
	if exists(path) {
		return path, nil
	}
	if err := os.MkdirAll(d.opt.BlankDir, 0o700); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(d.opt.BlankDir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	ctx, cancel := context.WithTimeout(ctx, formatLimit)
	defer cancel()
	for {
		err := flock(lock, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, errLocked) {
			return "", err
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return "", fmt.Errorf("wait for another process to make a blank store: %w", err)
		}
	}
	if exists(path) {
		return path, nil
	}
	return path, d.formatBlank(ctx, path, size)
}

// formatBlank makes a blank store; the cache's lock is held.
func (d *Driver) formatBlank(ctx context.Context, path string, size int64) (err error) {
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
	if err := d.opt.Format(ctx, temp, size); err != nil {
		return err
	}
	if err := syncFile(temp); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// allocated is what a file occupies on the host.
func allocated(path string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0, err
	}
	const blockSize = 512 // of st_blocks, on every system
	return st.Blocks * blockSize, nil
}
