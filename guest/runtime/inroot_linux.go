package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// The functions here resolve paths as a process would whose root is the given
// directory: links, absolute ones too, lead nowhere outside it. os.Root refuses
// absolute links, which images are full of.

// openIn opens name below root.
func openIn(root *os.File, name string, flags int) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(int(root.Fd()), name, &how)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue // EAGAIN: something moved while it was looked up
		}
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

// openDir opens a directory to resolve paths below it.
func openDir(name string) (*os.File, error) {
	return os.OpenFile(name, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// ensureDirIn opens what is at name below root, having made a directory of it
// (0755, as its parents) when there was nothing.
func ensureDirIn(root *os.File, name string) (*os.File, error) {
	f, err := openIn(root, name, unix.O_PATH)
	if !errors.Is(err, fs.ErrNotExist) || path.Clean("/"+name) == "/" {
		return f, err
	}
	clean := path.Clean("/" + name)
	parent, err := ensureDirIn(root, path.Dir(clean))
	if err != nil {
		return nil, err
	}
	defer func() { _ = parent.Close() }() // opened to find it only
	err = unix.Mkdirat(int(parent.Fd()), path.Base(clean), 0o755)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return openIn(root, clean, unix.O_PATH)
}

// bindTo mounts what f is at target, which is made to fit (a file or directory).
func bindTo(f *os.File, target string) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("bind %s: %w", f.Name(), err)
	}
	if info.IsDir() {
		err = os.Mkdir(target, 0o755)
	} else {
		err = os.WriteFile(target, nil, 0o644)
	}
	if err != nil {
		return fmt.Errorf("bind %s: %w", f.Name(), err)
	}
	// Through the descriptor: the name may be another thing by now.
	source := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", f.Name(), err)
	}
	return nil
}
