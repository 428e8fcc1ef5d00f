package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/ocispec"
)

// maxUserFile bounds what is read of an image's passwd or group.
const maxUserFile = 4 << 20

// Prepare implements agent.Runtime.
func (r *Runtime) Prepare(ctx context.Context, id string, spec *agentpb.ContainerSpec) (err error) {
	if !pathSafe(id) {
		return fmt.Errorf("prepare container %q: id is not safe in a path", id)
	}
	dir, err := r.pod("containers", id)
	if err != nil {
		return fmt.Errorf("prepare container: %w", err)
	}
	c := &container{id: id, dir: dir}
	r.mu.Lock()
	if _, ok := r.containers[id]; ok {
		r.mu.Unlock()
		return fmt.Errorf("prepare container %s: it is there already", id)
	}
	r.containers[id] = c
	hostname, network := r.hostname, r.network
	r.mu.Unlock()
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("prepare container %s: %w", id, err), r.Clean(context.WithoutCancel(ctx), id))
		}
	}()
	lower, err := r.lower(ctx, c, spec)
	if err != nil {
		return err
	}
	if err := c.mountRoot(lower); err != nil {
		return err
	}
	return r.writeBundle(ctx, c, spec, hostname, network)
}

// lower returns the directory that the container's root file system is based on.
func (r *Runtime) lower(ctx context.Context, c *container, spec *agentpb.ContainerSpec) (string, error) {
	if disk := spec.GetRootfsDisk(); disk != "" {
		path, err := r.useTemplate(ctx, disk)
		if err != nil {
			return "", err
		}
		r.mu.Lock()
		c.disk = disk
		r.mu.Unlock()
		return path, nil
	}
	p := spec.GetRootfsPath()
	if !path.IsAbs(p) {
		return "", fmt.Errorf("root file system %q is not an absolute path", p)
	}
	info, err := os.Stat(p)
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	if err != nil {
		return "", fmt.Errorf("root file system %s: %w", p, err)
	}
	return filepath.Clean(p), nil
}

func (c *container) path(name string) string { return filepath.Join(c.dir, name) }

// mountRoot makes the container's directory and mounts its root file system.
func (c *container) mountRoot(lower string) error {
	for _, sub := range []string{"", "upper", "work", "merged", "files", "volumes"} {
		if err := os.Mkdir(c.path(sub), 0o755); err != nil {
			return err
		}
		// The upper directory's mode is what / has in the container.
		if err := os.Chmod(c.path(sub), 0o755); err != nil {
			return err
		}
	}
	options := ocispec.OverlayOptions(lower, c.path("upper"), c.path("work"))
	if err := unix.Mount("overlay", c.path("merged"), "overlay", 0, options); err != nil {
		return fmt.Errorf("mount overlay: %w", err)
	}
	return nil
}

// writeBundle makes all else of the OCI bundle.
func (r *Runtime) writeBundle(ctx context.Context, c *container, spec *agentpb.ContainerSpec, hostname string, network *agentpb.NetworkConfig) error {
	root, err := openDir(c.path("merged"))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // opened to look below it
	who, err := r.containerUser(root, spec)
	if err != nil {
		return err
	}
	workDir, err := ensureDirIn(root, ocispec.WorkDir(spec))
	if err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	if err := workDir.Close(); err != nil {
		return err
	}
	binds, err := c.writeFiles(hostname, network)
	if err != nil {
		return err
	}
	for i, m := range spec.GetMounts() {
		b, err := r.volume(c, i, m)
		if err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.GetVolume(), m.GetPath(), err)
		}
		binds = append(binds, b)
	}
	if target := spec.GetTerminationMessagePath(); target != "" {
		b, err := c.messageBind(target)
		if err != nil {
			return fmt.Errorf("termination message: %w", err)
		}
		binds = append(binds, b)
	}
	return r.writeSpec(ctx, c, ocispec.Input{Container: spec, User: who, Hostname: hostname, Root: c.path("merged"), Binds: binds})
}

// writeSpec completes the OCI spec by what the container may do and see, and writes it.
func (r *Runtime) writeSpec(ctx context.Context, c *container, in ocispec.Input) error {
	var err error
	if in.PIDs, err = r.pidNamespace(ctx); err != nil {
		return err
	}
	privileged := in.Container.GetSecurity().GetPrivileged()
	if privileged {
		if in.Devices, err = machineDevices("/dev"); err != nil {
			return err
		}
	}
	in.Cgroup, in.MaxPIDs = cgroupName(c.id, privileged), r.maxPIDs
	oci, err := ocispec.Build(in)
	if err != nil {
		return err
	}
	if r.fixedLayout {
		oci.Linux.Personality = ordinaryLayout()
	}
	if err := addSeccomp(oci, in.Container.GetSecurity()); err != nil {
		return err
	}
	filter, err := r.filters.use(oci)
	if err != nil {
		return err
	}
	r.mu.Lock()
	c.filter = filter
	c.process, c.cgroup, c.stdin = oci.Process, cgroupAt(in.Cgroup), in.Container.GetStdin()
	r.mu.Unlock()
	return writeJSON(c.path("config.json"), oci)
}

// containerUser is who a container runs as.
func (r *Runtime) containerUser(root *os.File, spec *agentpb.ContainerSpec) (ocispec.User, error) {
	who, err := imageUser(root, ocispec.UserSpec(spec.GetUser(), spec.GetSecurity()))
	if err != nil {
		return ocispec.User{}, err
	}
	return who.WithSecurity(spec.GetSecurity(), r.group())
}

// writeFiles makes the files every container gets.
func (c *container) writeFiles(hostname string, network *agentpb.NetworkConfig) ([]ocispec.Bind, error) {
	files := ocispec.GeneratedFiles(hostname, network)
	var binds []ocispec.Bind
	for _, target := range slices.Sorted(maps.Keys(files)) {
		source := filepath.Join(c.path("files"), path.Base(target))
		if err := os.WriteFile(source, []byte(files[target]), 0o644); err != nil {
			return nil, err
		}
		binds = append(binds, ocispec.Bind{Source: source, Target: target})
	}
	return binds, nil
}

// imageUser resolves a user by the image's own files. They may be missing.
func imageUser(root *os.File, spec string) (ocispec.User, error) {
	var files [2]io.Reader
	for i, name := range []string{"etc/passwd", "etc/group"} {
		f, err := openIn(root, name, unix.O_RDONLY|unix.O_NONBLOCK)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				files[i] = strings.NewReader("")
				continue
			}
			return ocispec.User{}, err
		}
		defer func() { _ = f.Close() }() // only read
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			return ocispec.User{}, errors.Join(fmt.Errorf("the image's %s is not a regular file", name), err)
		}
		files[i] = io.LimitReader(f, maxUserFile)
	}
	return ocispec.ResolveUser(spec, files[0], files[1])
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return os.WriteFile(path, data, 0o600)
}

// Clean implements agent.Runtime.
func (r *Runtime) Clean(ctx context.Context, id string) error {
	if !pathSafe(id) {
		return fmt.Errorf("clean container %q: id is not safe in a path", id)
	}
	dir, err := r.pod("containers", id)
	if err != nil {
		return fmt.Errorf("clean container: %w", err)
	}
	if err := r.clean(ctx, id, dir); err != nil {
		return fmt.Errorf("clean container %s: %w", id, err)
	}
	r.mu.Lock()
	c, ok := r.containers[id]
	delete(r.containers, id)
	r.mu.Unlock()
	if ok && c.disk != "" {
		if err := r.dropTemplate(c.disk); err != nil {
			return fmt.Errorf("clean container %s: %w", id, err)
		}
	}
	return nil
}

func (r *Runtime) clean(ctx context.Context, id, dir string) error {
	if err := r.forget(ctx, id); err != nil {
		return err
	}
	volumes, err := filepath.Glob(filepath.Join(dir, "volumes", "*"))
	if err != nil {
		return err
	}
	for _, path := range volumes {
		if err := detachAll(path); err != nil {
			return err
		}
	}
	if err := detach(filepath.Join(dir, "merged")); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// forget ends a container's processes and removes what crun keeps of it.
func (r *Runtime) forget(ctx context.Context, id string) error {
	for _, privileged := range []bool{false, true} {
		if err := cgroupAt(cgroupName(id, privileged)).remove(ctx); err != nil {
			return err
		}
	}
	return os.RemoveAll(filepath.Join(runDir, id))
}

// CleanAll implements agent.Runtime.
func (r *Runtime) CleanAll(ctx context.Context) error {
	dir, err := r.pod("containers")
	if err != nil {
		return fmt.Errorf("clean containers: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("clean containers: %w", err)
	}
	for _, e := range entries {
		err = errors.Join(err, r.Clean(ctx, e.Name()))
	}
	return err
}

// preparedContainer returns a container that Prepare made.
func (r *Runtime) preparedContainer(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok || c.process == nil {
		return nil, fmt.Errorf("container %s: %w", id, agent.ErrNotFound)
	}
	return c, nil
}
