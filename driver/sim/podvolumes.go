package sim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// maxTerminationMessage bounds what is read of a termination message.
const maxTerminationMessage = 4096

// AddVolume implements agent.Runtime. Files are in the guest's memory: they are not in its store.
func (r *runtime) AddVolume(ctx context.Context, req *agentpb.AddVolumeRequest) error {
	if err := r.meet(ctx, "AddVolume"); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch s := req.GetSource().(type) {
	case *agentpb.AddVolumeRequest_Files:
		if v, ok := r.volumes[req.GetName()].(readOnly); ok {
			if files, ok := v.directory.(*memory); ok {
				files.replace(s.Files.GetFiles())
				return nil
			}
		}
		files := &memory{}
		files.replace(s.Files.GetFiles())
		r.volumes[req.GetName()] = readOnly{files}
	case *agentpb.AddVolumeRequest_Share:
		share, ok := r.share(s.Share.GetShare())
		if !ok {
			return fmt.Errorf("share %s: %w", s.Share.GetShare(), agent.ErrNotFound)
		}
		r.volumes[req.GetName()] = mounted(r.media.at(share.Path), share.ReadOnly)
	case *agentpb.AddVolumeRequest_Disk:
		disk, ok := r.disks.get(s.Disk.GetDisk())
		if !ok && r.store.hasImage(s.Disk.GetDisk()) {
			r.volumes[req.GetName()] = readOnly{&memory{}}
			return nil
		}
		if !ok {
			return fmt.Errorf("disk %s: %w", s.Disk.GetDisk(), agent.ErrNotFound)
		}
		r.volumes[req.GetName()] = mounted(r.media.at(disk.Path), disk.ReadOnly || s.Disk.GetReadOnly())
	}
	return nil
}

func mounted(d *memory, ro bool) directory {
	if ro {
		return readOnly{d}
	}
	return d
}

// share is one that the machine was made with.
func (r *runtime) share(name string) (driver.Share, bool) {
	for _, s := range r.shares {
		if s.Name == name {
			return s, true
		}
	}
	return driver.Share{}, false
}

// RemoveVolume implements agent.Runtime.
func (r *runtime) RemoveVolume(ctx context.Context, name string) error {
	if err := r.meet(ctx, "RemoveVolume"); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.volumes, name)
	return nil
}

// TerminationMessage implements agent.Runtime.
func (r *runtime) TerminationMessage(ctx context.Context, id string) ([]byte, error) {
	if err := r.meet(ctx, "TerminationMessage"); err != nil {
		return nil, err
	}
	c := r.container(id)
	if c == nil {
		return nil, fmt.Errorf("container %s: %w", id, agent.ErrNotFound)
	}
	dir, rest := r.locate(c, c.message)
	data, err := dir.read(rest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data[max(0, len(data)-maxTerminationMessage):], err
}

// locate finds where a path in a container leads: into a volume, or to the container's own files.
func (r *runtime) locate(c *container, p string) (directory, string) {
	p = path.Clean("/" + p)
	var dir directory = &c.files
	if c.readOnly && p != c.message {
		dir = readOnly{dir}
	}
	rest, best := p, -1
	for _, m := range c.mounts {
		at := path.Clean("/" + m.GetPath())
		inside, ok := strings.CutPrefix(p+"/", strings.TrimSuffix(at, "/")+"/")
		if !ok || len(at) <= best {
			continue
		}
		best = len(at)
		dir = r.volume(m.GetVolume())
		if m.GetReadOnly() {
			dir = readOnly{dir}
		}
		rest = path.Join(m.GetSubPath(), strings.TrimSuffix(inside, "/"))
	}
	return dir, rest
}

// volume is a volume of the pod, of whatever kind.
func (r *runtime) volume(name string) directory {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v := r.volumes[name]; v != nil {
		return v
	}
	return emptyDir{r.store, name}
}
