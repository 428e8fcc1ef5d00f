package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// volumesDir has a mount for each of the pod's volumes that is no emptyDir, under the
// volume's name. It lies in memory.
const volumesDir = "/run/firkin/volumes"

// podVolume is a volume that is no emptyDir. It does not outlive a boot.
type podVolume struct {
	path string
	// readOnly: no container can write to it.
	readOnly bool
	// files is set when it is one of files.
	files *filesVolume
	// drop ends the use of what it is made from, after it is unmounted; nil when there is nothing.
	drop func(context.Context) error
}

// AddVolume implements agent.Runtime.
func (r *Runtime) AddVolume(ctx context.Context, req *agentpb.AddVolumeRequest) error {
	name := req.GetName()
	if !pathSafe(name) {
		return fmt.Errorf("add volume %q: name is not safe in a path", name)
	}
	if err := r.addVolume(ctx, req); err != nil {
		return fmt.Errorf("add volume %s: %w", name, err)
	}
	return nil
}

func (r *Runtime) addVolume(ctx context.Context, req *agentpb.AddVolumeRequest) error {
	if _, err := r.pod(); err != nil {
		return err
	}
	r.volumesMu.Lock()
	old := r.volumes[req.GetName()]
	r.volumesMu.Unlock()
	path := filepath.Join(r.volumesDir, req.GetName())
	if old != nil {
		if (old.files != nil) != (req.GetFiles() != nil) {
			return errors.New("it is there already, and of another kind")
		}
		if old.files == nil {
			return nil
		}
		return old.files.update(req.GetFiles().GetFiles())
	}
	if err := os.MkdirAll(r.volumesDir, 0o711); err != nil {
		return err
	}
	// A failed try may have left something.
	if err := errors.Join(detachAll(path), removePoint(path)); err != nil {
		return err
	}
	v := &podVolume{path: path}
	err := r.makeVolume(ctx, v, req)
	if err != nil {
		return errors.Join(err, v.remove(context.WithoutCancel(ctx)))
	}
	r.volumesMu.Lock()
	defer r.volumesMu.Unlock()
	r.volumes[req.GetName()] = v
	return nil
}

// makeVolume mounts a new volume at its path. What it did is in v, even on failure.
func (r *Runtime) makeVolume(ctx context.Context, v *podVolume, req *agentpb.AddVolumeRequest) error {
	switch source := req.GetSource().(type) {
	case *agentpb.AddVolumeRequest_Files:
		v.readOnly = true
		files, err := newFilesVolume(v.path, r.group())
		if err != nil {
			return err
		}
		v.files = files
		return files.update(source.Files.GetFiles())
	case *agentpb.AddVolumeRequest_Share:
		return r.bindShare(v.path, source.Share)
	case *agentpb.AddVolumeRequest_Disk:
		disk, readOnly, drop, err := r.useDisk(ctx, source.Disk.GetDisk())
		if err != nil {
			return err
		}
		v.drop = drop
		v.readOnly = readOnly || source.Disk.GetReadOnly()
		if gid := r.group(); gid != nil && !readOnly {
			if err := ownTree(ctx, disk, *gid); err != nil {
				return err
			}
		}
		return bindPath(disk, v.path)
	default:
		return errors.New("it has no source")
	}
}

// remove unmounts the volume and ends the use of what it was made from.
func (v *podVolume) remove(ctx context.Context) error {
	if err := detachAll(v.path); err != nil {
		return err
	}
	if v.drop != nil {
		if err := v.drop(ctx); err != nil {
			return err
		}
		v.drop = nil
	}
	return removePoint(v.path)
}

// RemoveVolume implements agent.Runtime.
func (r *Runtime) RemoveVolume(ctx context.Context, name string) error {
	r.volumesMu.Lock()
	v := r.volumes[name]
	r.volumesMu.Unlock()
	if v == nil {
		return nil
	}
	if err := v.remove(ctx); err != nil {
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	r.volumesMu.Lock()
	defer r.volumesMu.Unlock()
	delete(r.volumes, name)
	return nil
}

// removeVolumes removes all volumes, as far as that works.
func (r *Runtime) removeVolumes(ctx context.Context) error {
	r.volumesMu.Lock()
	var names []string
	for name := range r.volumes {
		names = append(names, name)
	}
	r.volumesMu.Unlock()
	var err error
	for _, name := range names {
		err = errors.Join(err, r.RemoveVolume(ctx, name))
	}
	return err
}

// removePoint removes a mount point; one that is not there is fine.
func removePoint(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove mount point: %w", err)
	}
	return nil
}

// bindPath mounts what is at source at a new target, with nothing of what is mounted below.
func bindPath(source, target string) error {
	f, err := os.OpenFile(source, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // the mount holds it
	return bindTo(f, target)
}
