package runtime

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
)

// Containers of others' specs: what is in them is theirs to say, but for the cgroup, which is
// below ours, and the port to the host, which is kept from all. They know nothing of the pod.

// bundlePrefix sets their ids apart from those of the pod's containers, which have no dot.
const bundlePrefix = "bundle."

// RunBundle runs the first process of the container that spec describes. Relative paths in it
// are not resolved. The container stays known, with the processes of RunBundle and ExecBundle,
// until RemoveBundle; on failure nothing is left. id is 1 to 200 characters of [A-Za-z0-9._-].
func (r *Runtime) RunBundle(ctx context.Context, id string, spec *specs.Spec, stdio agent.ExecIO) (agent.ExecProcess, error) {
	p, err := r.runBundle(ctx, id, spec, stdio)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("run container %s: %w", id, err), r.RemoveBundle(context.WithoutCancel(ctx), id))
	}
	return p, nil
}

func (r *Runtime) runBundle(ctx context.Context, id string, spec *specs.Spec, stdio agent.ExecIO) (*process, error) {
	if spec.Process == nil || spec.Linux == nil {
		return nil, fmt.Errorf("%w: a spec without process or linux section", agent.ErrInvalid)
	}
	if err := r.awaitReady(ctx); err != nil {
		return nil, err
	}
	c, err := bundleContainer(id)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	own := *spec
	linux := *spec.Linux
	own.Linux = &linux
	if own.Process, err = withUsername(spec.Root, spec.Process); err != nil {
		return nil, err
	}
	privileged, err := keepPort(&linux)
	if err != nil {
		return nil, err
	}
	linux.CgroupsPath = cgroupName(c.id, privileged)
	c.cgroup = cgroupAt(linux.CgroupsPath)
	if err := writeJSON(filepath.Join(c.dir, "config.json"), &own); err != nil {
		return nil, err
	}
	return r.launch(ctx, launch{
		container: c, dir: c.dir, command: []string{"run", "--detach", "--bundle=" + c.dir}, first: true,
		terminal: spec.Process.Terminal, stdio: stdio,
	})
}

// ExecBundle runs a further process in a container of RunBundle.
func (r *Runtime) ExecBundle(ctx context.Context, id string, spec *specs.Process, stdio agent.ExecIO) (agent.ExecProcess, error) {
	c, err := bundleContainer(id)
	if err != nil {
		return nil, fmt.Errorf("exec: %w", err)
	}
	dir, err := os.MkdirTemp(c.dir, "exec-")
	if errors.Is(err, fs.ErrNotExist) {
		err = agent.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", id, err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // goes with the container at the latest
	p, err := r.execBundle(ctx, c, dir, spec, stdio)
	if err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", id, err)
	}
	return p, nil
}

func (r *Runtime) execBundle(ctx context.Context, c *container, dir string, process *specs.Process, stdio agent.ExecIO) (*process, error) {
	data, err := os.ReadFile(filepath.Join(c.dir, "config.json"))
	if err != nil {
		return nil, err
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	own, err := withUsername(spec.Root, process)
	if err != nil {
		return nil, err
	}
	processFile := filepath.Join(dir, "process.json")
	if err := writeJSON(processFile, own); err != nil {
		return nil, err
	}
	c.cgroup = cgroupAt(spec.Linux.CgroupsPath)
	l := launch{
		container: c, dir: dir, command: []string{"exec", "--detach", "--process=" + processFile}, terminal: process.Terminal, stdio: stdio,
	}
	if l.terminal {
		l.command = append(l.command, "--tty")
	}
	return r.launch(ctx, l)
}

// withUsername resolves the name of a user by the files of the container, as image configs have
// it ("app", "app:users", "1000:100"): clients put it where the OCI runtime does not look.
func withUsername(root *specs.Root, process *specs.Process) (*specs.Process, error) {
	if process.User.Username == "" {
		return process, nil
	}
	if root == nil {
		return nil, fmt.Errorf("%w: a user by name and no root", agent.ErrInvalid)
	}
	dir, err := openDir(root.Path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // opened to look below it
	who, err := imageUser(dir, process.User.Username)
	if err != nil {
		return nil, err
	}
	own := *process
	own.User.UID, own.User.GID, own.User.Username = who.UID, who.GID, ""
	own.User.AdditionalGids = append(slices.Clone(process.User.AdditionalGids), who.Groups...)
	return &own, nil
}

// RemoveBundle ends all processes of a container of RunBundle and forgets it. Its root file
// system is its maker's. A missing one is fine.
func (r *Runtime) RemoveBundle(ctx context.Context, id string) error {
	c, err := bundleContainer(id)
	if err == nil {
		err = r.forget(ctx, c.id)
	}
	if err == nil {
		err = os.RemoveAll(c.dir)
	}
	if err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	return nil
}

// ContainerCgroups returns the cgroup directories of all containers that run, the pod's and
// those of RunBundle, by id.
func (r *Runtime) ContainerCgroups() (map[string]string, error) {
	groups := map[string]string{}
	for _, parent := range []string{containersCgroup, privilegedCgroup} {
		entries, err := os.ReadDir(filepath.Join(cgroupRoot, parent))
		if err != nil {
			return nil, fmt.Errorf("list cgroups: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() {
				groups[strings.TrimPrefix(e.Name(), bundlePrefix)] = filepath.Join(cgroupRoot, parent, e.Name())
			}
		}
	}
	return groups, nil
}

func bundleContainer(id string) (*container, error) {
	if !pathSafe(id) || len(id) > 200 {
		return nil, fmt.Errorf("%w: id %q is not safe in a path", agent.ErrInvalid, id)
	}
	name := bundlePrefix + id
	return &container{id: name, dir: filepath.Join(bundlesDir, name)}, nil
}

// awaitReady waits until the kernel can do all that is asked of it.
func (r *Runtime) awaitReady(ctx context.Context) error {
	if r.ready == nil {
		return nil
	}
	select {
	case <-r.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for kernel modules: %w", context.Cause(ctx))
	}
}

// keepPort takes the port to the host away from a container that may use more devices than
// the usual ones, and tells whether it is one.
func keepPort(linux *specs.Linux) (privileged bool, err error) {
	if linux.Resources == nil || !slices.ContainsFunc(linux.Resources.Devices, func(d specs.LinuxDeviceCgroup) bool { return d.Allow }) {
		return false, nil
	}
	f, err := os.Open("/proc/devices")
	if err != nil {
		return true, fmt.Errorf("find the port's device number: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	major, err := parseDevices(f, "virtio-portsdev")
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // there is no such port
	}
	if err != nil {
		return true, err
	}
	resources := *linux.Resources
	resources.Devices = append(slices.Clone(resources.Devices), specs.LinuxDeviceCgroup{Type: "c", Major: &major, Access: "rwm"})
	linux.Resources = &resources
	return true, nil
}

// parseDevices returns the major number of the character devices with that name; r is
// /proc/devices, which has them first.
func parseDevices(r io.Reader, name string) (int64, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 2 && fields[1] == name {
			return strconv.ParseInt(fields[0], 10, 32)
		}
	}
	return 0, errors.Join(fmt.Errorf("device %s: %w", name, fs.ErrNotExist), lines.Err())
}
