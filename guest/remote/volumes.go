package remote

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// CreateEmptyDir implements agent.Runtime. One on the disk has no limit: the contract knows no quotas.
func (r *Runtime) CreateEmptyDir(ctx context.Context, dir *agentpb.AddEmptyDirRequest) error {
	name := dir.GetName()
	if !dir.GetMemory() && dir.GetSizeLimitBytes() > 0 {
		return refuse("emptyDir %s: sizeLimit on the disk", name)
	}
	if _, there := r.emptyDirs()[name]; there {
		return nil
	}
	at := r.emptyDirPath(name)
	err := r.mkdir(ctx, at, 0o777)
	if err == nil && dir.GetMemory() {
		options := []string{"nosuid", "nodev", "mode=0777"}
		if n := dir.GetSizeLimitBytes(); n > 0 {
			options = append(options, fmt.Sprintf("size=%d", n))
		}
		err = r.mount(ctx, "tmpfs", "tmpfs", at, options...)
	}
	if err != nil {
		return failed(err, "emptyDir %s", name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dirs[name] = dir.GetMemory()
	return nil
}

// RemoveEmptyDir implements agent.Runtime.
func (r *Runtime) RemoveEmptyDir(ctx context.Context, name string) error {
	err := r.closeEmptyDir(ctx, name)
	if err == nil {
		err = r.remove(ctx, r.emptyDirPath(name))
	}
	if err != nil {
		return failed(err, "emptyDir %s", name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.dirs, name)
	return nil
}

// closeEmptyDir unmounts an emptyDir in memory.
func (r *Runtime) closeEmptyDir(ctx context.Context, name string) error {
	if !r.emptyDirs()[name] {
		return nil
	}
	return r.unmount(ctx, r.emptyDirPath(name))
}

// EmptyDirUsage implements agent.Runtime. Of one on the disk the contract says nothing: 0.
func (r *Runtime) EmptyDirUsage(ctx context.Context, name string) (int64, error) {
	if !r.emptyDirs()[name] {
		return 0, nil
	}
	_, used, err := r.usage(ctx, r.emptyDirPath(name))
	return used, failed(err, "usage of emptyDir %s", name)
}

func (r *Runtime) emptyDirPath(name string) string { return path.Join(r.pod(), "emptydir", name) }

// emptyDirs are those that there are; true: in memory.
func (r *Runtime) emptyDirs() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.dirs)
}

// AddVolume implements agent.Runtime: refused. Files could be written, but not changed for all
// their readers at once.
func (r *Runtime) AddVolume(_ context.Context, req *agentpb.AddVolumeRequest) error {
	return refuse("volume %s: it is no emptyDir", req.GetName())
}

// RemoveVolume implements agent.Runtime: there is none.
func (r *Runtime) RemoveVolume(context.Context, string) error { return nil }

// CreateFile implements agent.Runtime: refused, because the contract's paths follow links, which
// are a container's to make.
func (r *Runtime) CreateFile(_ context.Context, emptyDir, _ string) (agent.AtomicFile, error) {
	return nil, refuse("write a file into emptyDir %s, following no link out of it", emptyDir)
}

// OpenFile implements agent.Runtime: refused for the same reason.
func (r *Runtime) OpenFile(_ context.Context, emptyDir, _ string) (io.ReadCloser, error) {
	return nil, refuse("read a file of emptyDir %s, following no link out of it", emptyDir)
}
