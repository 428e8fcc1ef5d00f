package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/ocispec"
)

// volume returns the bind mount of a volume, or of a path in one.
func (r *Runtime) volume(c *container, i int, m *agentpb.Mount) (ocispec.Bind, error) {
	if !path.IsAbs(m.GetPath()) {
		return ocispec.Bind{}, errors.New("path in the container is not absolute")
	}
	source, readOnly, err := r.volumeSource(m.GetVolume())
	if err != nil {
		return ocispec.Bind{}, err
	}
	if m.GetPropagation() != agentpb.Mount_PRIVATE {
		if err := r.share(source); err != nil {
			return ocispec.Bind{}, err
		}
	}
	b := ocispec.Bind{
		Source: source, Target: path.Clean(m.GetPath()), ReadOnly: readOnly || m.GetReadOnly(), Propagation: m.GetPropagation(),
	}
	info, err := os.Lstat(source)
	if err != nil {
		return ocispec.Bind{}, err
	}
	b.File = !info.IsDir()
	if m.GetSubPath() == "" {
		return b, nil
	}
	if b.File {
		return ocispec.Bind{}, errors.New("sub-path: the volume is a single file")
	}
	return r.subPath(c, i, m, b)
}

// subPath returns the bind mount of a path in a volume. b is that of the volume.
func (r *Runtime) subPath(c *container, i int, m *agentpb.Mount, b ocispec.Bind) (ocispec.Bind, error) {
	root, err := openDir(b.Source)
	if err != nil {
		return ocispec.Bind{}, err
	}
	defer func() { _ = root.Close() }() // opened to look below it
	sub, err := ensureDirIn(root, m.GetSubPath())
	if err != nil {
		return ocispec.Bind{}, fmt.Errorf("sub-path: %w", err)
	}
	defer func() { _ = sub.Close() }() // the mount holds it
	info, err := sub.Stat()
	if err != nil {
		return ocispec.Bind{}, fmt.Errorf("sub-path: %w", err)
	}
	b.File = !info.IsDir()
	// A container could swap the path for a link until crun mounts it: give crun a
	// mount of what was found.
	b.Source = filepath.Join(c.path("volumes"), fmt.Sprint(i))
	r.mu.Lock()
	c.binds = append(c.binds, b.Source)
	r.mu.Unlock()
	if err := bindTo(sub, b.Source); err != nil {
		return ocispec.Bind{}, err
	}
	if m.GetPropagation() == agentpb.Mount_PRIVATE {
		if err := unix.Mount("", b.Source, "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			return ocispec.Bind{}, fmt.Errorf("sub-path: make mount private: %w", err)
		}
	}
	return b, nil
}

// volumeSource returns where a volume is in the guest, and whether no container may write to it.
func (r *Runtime) volumeSource(name string) (string, bool, error) {
	r.volumesMu.Lock()
	v := r.volumes[name]
	r.volumesMu.Unlock()
	if v != nil {
		return v.path, v.readOnly, nil
	}
	source, err := r.emptyDir(name)
	if err != nil {
		return "", false, err
	}
	if _, err := os.Stat(source); errors.Is(err, fs.ErrNotExist) {
		return "", false, fmt.Errorf("there is no volume %s", name)
	} else if err != nil {
		return "", false, err
	}
	return source, false, nil
}

// share has a volume's mount pass on, to containers that ask for it, what is mounted below it.
func (r *Runtime) share(source string) error {
	r.disksMu.Lock()
	defer r.disksMu.Unlock()
	if err := ensureMount(source); err != nil {
		return err
	}
	if err := unix.Mount("", source, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share the mounts of %s: %w", source, err)
	}
	return nil
}
