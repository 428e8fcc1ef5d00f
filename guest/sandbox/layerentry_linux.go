package sandbox

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// xattrPrefix is how tar headers name extended attributes.
const xattrPrefix = "SCHILY.xattr."

// dirTime is when a directory was changed last.
type dirTime struct {
	name string
	at   time.Time
}

// make makes one entry at a path whose directory is there and free of links. What was there goes,
// but a directory that is one still.
func (l *layer) make(name string, h *tar.Header, content io.Reader) error {
	info, err := l.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.IsDir() && h.Typeflag == tar.TypeDir:
		return l.setDir(name, h)
	default:
		if err := l.root.RemoveAll(name); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := l.root.Mkdir(name, 0o700); err != nil {
			return err
		}
		return l.setDir(name, h)
	case tar.TypeReg, tar.TypeGNUSparse:
		return l.makeFile(name, h, content)
	case tar.TypeLink:
		return l.makeHardLink(name, h)
	case tar.TypeSymlink:
		if err := l.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		if err := l.makeNode(name, h); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: entries of type %q", errors.ErrUnsupported, h.Typeflag)
	}
	return l.setMeta(name, h)
}

func (l *layer) makeFile(name string, h *tar.Header, content io.Reader) error {
	f, err := l.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return l.setMeta(name, h)
}

// makeHardLink links to what is in the archive's root by that name. A link that it is linked to
// is the target itself.
func (l *layer) makeHardLink(name string, h *tar.Header) error {
	dir, base := path.Split(path.Clean("/" + h.Linkname))
	dir, err := resolveDir(l.root, dir)
	if err != nil {
		return err
	}
	return l.root.Link(path.Join(dir, base), name)
}

func (l *layer) makeNode(name string, h *tar.Header) error {
	kind := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[h.Typeflag]
	return l.in(name, func(dir int, base string) error {
		device := unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
		if err := unix.Mknodat(dir, base, kind|0o600, int(device)); err != nil {
			return &fs.PathError{Op: "mknod", Path: name, Err: err}
		}
		return nil
	})
}

// setDir sets what an entry says of a directory.
func (l *layer) setDir(name string, h *tar.Header) error {
	l.times = append(l.times, dirTime{name, h.ModTime})
	return l.setMeta(name, h)
}

// setMeta gives what was made its owner, mode, attributes and times. A link has no mode.
func (l *layer) setMeta(name string, h *tar.Header) error {
	if err := l.root.Lchown(name, h.Uid, h.Gid); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeSymlink {
		// After the owner, which clears set-user-id.
		if err := l.root.Chmod(name, h.FileInfo().Mode()&^fs.ModeType); err != nil {
			return err
		}
	}
	return l.in(name, func(dir int, base string) error {
		if err := setXattrs(dir, base, h.PAXRecords); err != nil {
			return err
		}
		return setTime(dir, base, h.ModTime)
	})
}

// setTimes sets the times of directories, those below first.
func (l *layer) setTimes() error {
	for _, d := range slices.Backward(l.times) {
		err := l.in(d.name, func(dir int, base string) error { return setTime(dir, base, d.at) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a later entry may have replaced it
			return err
		}
	}
	return nil
}

// in calls do with the directory that holds name, and the name in it, which do must not follow
// if it is a link.
func (l *layer) in(name string, do func(dir int, base string) error) error {
	d, err := l.root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // opened to look below it
	return do(int(d.Fd()), path.Base(name))
}

func setTime(dir int, base string, at time.Time) error {
	if at.IsZero() {
		return nil
	}
	ts, err := unix.TimeToTimespec(at)
	if err != nil {
		return invalid("time %v: %v", at, err)
	}
	if err := unix.UtimesNanoAt(dir, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "set times", Path: base, Err: err}
	}
	return nil
}

// setXattrs sets extended attributes. Those that the file system has not are left out, as other
// unpackers do.
func setXattrs(dir int, base string, records map[string]string) error {
	target := fmt.Sprintf("/proc/self/fd/%d/%s", dir, base)
	for key, value := range records {
		attr, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok {
			continue
		}
		err := unix.Lsetxattr(target, attr, []byte(value), 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return &fs.PathError{Op: "set attribute " + attr, Path: base, Err: err}
		}
	}
	return nil
}
