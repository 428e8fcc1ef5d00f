package remote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/ocispec"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// Prepare implements agent.Runtime.
func (r *Runtime) Prepare(ctx context.Context, id string, spec *agentpb.ContainerSpec) error {
	if err := refuseContainer(spec); err != nil {
		return err
	}
	c := &container{id: id, dir: path.Join(r.pod(), "containers", id), stdin: spec.GetStdin()}
	r.mu.Lock()
	_, there := r.containers[id]
	if !there {
		r.containers[id] = c
	}
	r.mu.Unlock()
	if there {
		return fmt.Errorf("prepare container %s: it is there already", id)
	}
	if err := r.prepare(ctx, c, spec); err != nil {
		return failed(also(err, r.Clean(context.WithoutCancel(ctx), id)), "prepare container %s", id)
	}
	return nil
}

func (r *Runtime) prepare(ctx context.Context, c *container, spec *agentpb.ContainerSpec) error {
	lower := spec.GetRootfsPath()
	if disk := spec.GetRootfsDisk(); disk != "" {
		var err error
		if lower, err = r.openTemplate(ctx, disk); err != nil {
			return err
		}
		c.disk = disk
	}
	for _, sub := range []string{"", "upper", "work", "merged", "files"} {
		if err := r.mkdir(ctx, path.Join(c.dir, sub), 0o755); err != nil {
			return err
		}
	}
	merged := path.Join(c.dir, "merged")
	options := ocispec.OverlayOptions(lower, path.Join(c.dir, "upper"), path.Join(c.dir, "work"))
	if err := r.mount(ctx, "overlay", "overlay", merged, options); err != nil {
		return err
	}
	binds, err := r.binds(ctx, c, spec)
	if err != nil {
		return err
	}
	r.mu.Lock()
	hostname := r.hostname
	r.mu.Unlock()
	oci, err := ocispec.Elsewhere(ocispec.Input{Container: spec, Hostname: hostname, Root: merged, Cgroup: "/firkin/" + c.id, Binds: binds})
	if errors.Is(err, ocispec.ErrNeedsImage) {
		return refuse("container %s: %v", spec.GetName(), err)
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.spec = oci
	return nil
}

// binds makes the files that every container gets, and adds its volumes.
func (r *Runtime) binds(ctx context.Context, c *container, spec *agentpb.ContainerSpec) ([]ocispec.Bind, error) {
	r.mu.Lock()
	files := ocispec.GeneratedFiles(r.hostname, r.network)
	r.mu.Unlock()
	var binds []ocispec.Bind
	for _, target := range slices.Sorted(maps.Keys(files)) {
		source := path.Join(c.dir, "files", path.Base(target))
		if err := r.write(ctx, source, files[target], 0o644); err != nil {
			return nil, err
		}
		binds = append(binds, ocispec.Bind{Source: source, Target: target, File: true})
	}
	for _, m := range spec.GetMounts() {
		binds = append(binds, ocispec.Bind{Source: r.emptyDirPath(m.GetVolume()), Target: path.Clean(m.GetPath()), ReadOnly: m.GetReadOnly()})
	}
	if target := spec.GetTerminationMessagePath(); target != "" {
		source := path.Join(c.dir, ocispec.MessageFile)
		if err := r.write(ctx, source, "", 0o666); err != nil { // whoever the container runs as writes to it
			return nil, err
		}
		c.message = true
		binds = append(binds, ocispec.Bind{Source: source, Target: path.Clean(target), File: true})
	}
	return binds, nil
}

func (r *Runtime) write(ctx context.Context, at, text string, mode uint32) error {
	s, err := r.now()
	if err == nil {
		_, err = s.WriteFile(ctx, &sandboxpb.WriteFileRequest{
			Path: at, Data: []byte(text), Mode: mode, Flags: &sandboxpb.WriteFileRequest_WriteFileFlags{CreateIfMissing: true},
		})
	}
	return err
}

// TerminationMessage implements agent.Runtime. The container has the file mounted and can neither
// remove nor replace it. What is before its end is read, too, as far as a container may fill it.
func (r *Runtime) TerminationMessage(ctx context.Context, id string) ([]byte, error) {
	c, err := r.container(id)
	if err != nil || !c.message {
		return nil, err
	}
	text, err := r.read(ctx, path.Join(c.dir, ocispec.MessageFile), 1<<20)
	return text[max(0, len(text)-ocispec.MaxMessage):], failed(err, "read termination message of container %s", id)
}

// Clean implements agent.Runtime.
func (r *Runtime) Clean(ctx context.Context, id string) error {
	c, err := r.container(id)
	if errors.Is(err, agent.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = r.clean(ctx, c)
	}
	if err != nil {
		return failed(err, "clean container %s", id)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.containers, id)
	return nil
}

func (r *Runtime) clean(ctx context.Context, c *container) error {
	if r.made(c) {
		if err := r.deleteProcess(ctx, c.id, c.id); err != nil {
			return err
		}
	}
	if err := r.unmount(ctx, path.Join(c.dir, "merged")); err != nil {
		return err
	}
	err := r.remove(ctx, c.dir)
	if status.Code(err) == codes.Unimplemented {
		r.opt.Log.V(1).Info("the guest cannot remove directories; one stays until its store is gone", "container", c.id)
		err = nil
	}
	if err != nil || c.disk == "" {
		return err
	}
	if err := r.dropTemplate(ctx, c.disk); err != nil {
		return err
	}
	c.disk = ""
	return nil
}

// CleanAll implements agent.Runtime. A machine that has just booted runs nothing.
func (r *Runtime) CleanAll(ctx context.Context) error {
	r.mu.Lock()
	ids := slices.Sorted(maps.Keys(r.containers))
	r.mu.Unlock()
	var errs []error
	for _, id := range ids {
		errs = append(errs, r.Clean(ctx, id))
	}
	return errors.Join(errs...)
}

func (r *Runtime) container(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return nil, fmt.Errorf("container %s: %w", id, agent.ErrNotFound)
	}
	return c, nil
}
