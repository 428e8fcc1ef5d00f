package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// isMount tells whether something is mounted at path. A path that is not there is no mount.
func isMount(path string) (bool, error) {
	var st unix.Statx_t
	// What the kernel knows is enough: the server of a share may be gone.
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_STATX_DONT_SYNC
	err := unix.Statx(unix.AT_FDCWD, path, flags, 0, &st)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// ensureMount makes path a mount of its own, so that it can have a propagation of its own.
func ensureMount(path string) error {
	mounted, err := isMount(path)
	if err != nil || mounted {
		return err
	}
	if err := unix.Mount(path, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", path, err)
	}
	if err := unix.Mount("", path, "", unix.MS_PRIVATE, ""); err != nil {
		return errors.Join(fmt.Errorf("make mount of %s private: %w", path, err), detach(path))
	}
	return nil
}

// detachAll detaches whatever is stacked at path, with all mounts below it; what shares
// these mounts keeps its own.
func detachAll(path string) error {
	for {
		mounted, err := isMount(path)
		if err != nil || !mounted {
			return err
		}
		if err := unix.Mount("", path, "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("make mount of %s private: %w", path, err)
		}
		if err := detach(path); err != nil {
			return err
		}
	}
}

// detach unmounts what is mounted at path, at once for new users and for good when
// the last user is gone. Nothing mounted, or no path, is fine.
func detach(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("unmount %s: %w", path, err)
}

// mountWords is what mount options in the words of mount(8) are to the kernel: flags, and data
// of the file system. Of the flags it knows those that keep things out.
func mountWords(words []string) (flags uintptr, data string) {
	var rest []string
	for _, w := range words {
		switch w {
		case "nosuid":
			flags |= unix.MS_NOSUID
		case "nodev":
			flags |= unix.MS_NODEV
		case "noexec":
			flags |= unix.MS_NOEXEC
		default:
			rest = append(rest, w)
		}
	}
	return flags, strings.Join(rest, ",")
}

// template is a template disk that is mounted.
type template struct {
	path  string
	users int
	// ready is closed once it is mounted, or err says why not.
	ready chan struct{}
	err   error
}

// useTemplate mounts a template disk read-only, once for all containers, and
// returns where. Each use is ended by dropTemplate.
func (r *Runtime) useTemplate(ctx context.Context, disk string) (string, error) {
	if !pathSafe(disk) {
		return "", fmt.Errorf("template %q: name is not safe in a path", disk)
	}
	path, err := r.pod("templates", disk)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	t, ok := r.templates[disk]
	if !ok {
		t = &template{path: path, ready: make(chan struct{})}
		r.templates[disk] = t
	}
	t.users++
	r.mu.Unlock()

	if !ok {
		t.err = r.mountImage(ctx, disk, path)
		close(t.ready)
	}
	select {
	case <-t.ready:
		err = t.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("template %s: %w", disk, err), r.dropTemplate(disk))
	}
	return path, nil
}

func mountTemplate(ctx context.Context, disk, path string) error {
	device, err := waitDisk(ctx, disk)
	if err != nil {
		return err
	}
	return mountTemplateAt(device, path)
}

func mountTemplateAt(device, path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(device, path, "ext4", unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("mount %s: %w", device, err)
	}
	return nil
}

// dropTemplate ends one use; with the last the disk is unmounted, so that the host
// can take it away.
func (r *Runtime) dropTemplate(disk string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.templates[disk]
	if !ok {
		return nil
	}
	if t.users--; t.users > 0 {
		return nil
	}
	delete(r.templates, disk)
	return unmountTemplate(t)
}

func unmountTemplate(t *template) error {
	if err := detach(t.path); err != nil {
		return err
	}
	if err := os.Remove(t.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove mount point: %w", err)
	}
	return nil
}

func (r *Runtime) unmountTemplates() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for disk, t := range r.templates {
		delete(r.templates, disk)
		err = errors.Join(err, unmountTemplate(t))
	}
	return err
}
