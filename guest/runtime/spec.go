package runtime

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// ociVersion is the version of the specification the spec keeps to.
const ociVersion = "1.0.2"

// bindMount is something of the guest that a container sees.
type bindMount struct {
	source   string // absolute, in the guest
	target   string // absolute, in the container
	readOnly bool
}

// specInput is all that a container's OCI spec is built from.
type specInput struct {
	container *agentpb.ContainerSpec
	user      user
	hostname  string
	rootfs    string
	cgroup    string // path below the cgroup root
	binds     []bindMount
}

// buildSpec makes the OCI spec. It is a pure function.
func buildSpec(in specInput) *specs.Spec {
	c := in.container
	oomScore := containerOOMScore
	return &specs.Spec{
		Version:  ociVersion,
		Hostname: in.hostname,
		Root:     &specs.Root{Path: in.rootfs},
		Process: &specs.Process{
			Args:         c.GetArgv(),
			Env:          buildEnv(c.GetEnv(), "HOSTNAME="+in.hostname, "HOME="+in.user.home),
			Cwd:          cwd(c),
			User:         in.user.oci(),
			Capabilities: capabilities(),
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: openFilesSoft, Hard: openFilesHard}},
			// Above that of PID 1, which is inherited otherwise.
			OOMScoreAdj: &oomScore,
		},
		Mounts: append(systemMounts(), ociBinds(in.binds)...),
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace},
			},
			CgroupsPath:   in.cgroup,
			Resources:     resources(c.GetResources()),
			MaskedPaths:   maskedPaths(),
			ReadonlyPaths: readonlyPaths(),
		},
	}
}

// buildExec makes the process of an exec into a container from the container's own.
func buildExec(container *specs.Process, req *agentpb.ExecRequest_Start) *specs.Process {
	p := *container
	p.Args = req.GetArgv()
	p.Env = buildEnv(append(append([]string{}, container.Env...), req.GetEnv()...))
	if req.GetTty() {
		p.Terminal = true
		p.Env = buildEnv(p.Env, "TERM=xterm")
		if req.GetRows() > 0 && req.GetColumns() > 0 {
			p.ConsoleSize = &specs.Box{Height: uint(req.GetRows()), Width: uint(req.GetColumns())}
		}
	}
	return &p
}

func cwd(c *agentpb.ContainerSpec) string {
	if c.GetCwd() == "" {
		return "/"
	}
	return c.GetCwd()
}

// buildEnv returns env with the later of two entries of one name, and with those
// defaults (and PATH) whose names it lacks, at its end.
func buildEnv(env []string, defaults ...string) []string {
	at := map[string]int{}
	var out []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := at[name]; ok {
			out[i] = e
			continue
		}
		at[name] = len(out)
		out = append(out, e)
	}
	for _, e := range append([]string{defaultPath}, defaults...) {
		name, _, _ := strings.Cut(e, "=")
		if _, ok := at[name]; !ok {
			at[name] = len(out)
			out = append(out, e)
		}
	}
	return out
}

func capabilities() *specs.LinuxCapabilities {
	caps := defaultCapabilities()
	return &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
}

// resources turns requests and limits into cgroup settings, as Kubernetes does.
func resources(r *agentpb.Resources) *specs.LinuxResources {
	limit := int64(maxPIDs)
	shares := uint64(max(r.GetCpuRequestMilli()*1024/1000, minCPUShares))
	out := &specs.LinuxResources{
		Pids: &specs.LinuxPids{Limit: &limit},
		CPU:  &specs.LinuxCPU{Shares: &shares},
		// What runs out of memory ends as a whole, not in one process at random.
		Unified: map[string]string{"memory.oom.group": "1"},
	}
	if milli := r.GetCpuLimitMilli(); milli > 0 {
		// The kernel takes no quota below 1 ms.
		quota, period := max(milli*cpuPeriodMicros/1000, 1000), uint64(cpuPeriodMicros)
		out.CPU.Quota, out.CPU.Period = &quota, &period
	}
	if bytes := r.GetMemoryLimitBytes(); bytes > 0 {
		swap := bytes // memory and swap together: no swap
		out.Memory = &specs.LinuxMemory{Limit: &bytes, Swap: &swap}
	}
	return out
}

// sortBinds puts mounts before those below them, so that none covers another;
// of two at one place the later one is seen.
func sortBinds(binds []bindMount) {
	slices.SortStableFunc(binds, func(a, b bindMount) int {
		return strings.Count(a.target, "/") - strings.Count(b.target, "/")
	})
}

func ociBinds(binds []bindMount) []specs.Mount {
	var out []specs.Mount
	for _, b := range binds {
		mode := "rw"
		if b.readOnly {
			mode = "ro"
		}
		out = append(out, specs.Mount{
			Destination: b.target, Type: "bind", Source: b.source, Options: []string{"rbind", "rprivate", mode},
		})
	}
	return out
}

// overlayOptions are the mount options of a container's root file system.
// volatile: nothing of it outlives a crash of the machine, so nothing is synced.
func overlayOptions(lower, upper, work string) string {
	return fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,volatile",
		escapeOverlay(lower, `\:,`), escapeOverlay(upper, `\,`), escapeOverlay(work, `\,`))
}

// escapeOverlay puts a backslash before every character of special.
func escapeOverlay(path, special string) string {
	var b strings.Builder
	for i := range len(path) {
		if strings.IndexByte(special, path[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// Files every container gets, by the path it sees them at.
func generatedFiles(hostname string) map[string]string {
	return map[string]string{
		"/etc/hostname": hostname + "\n",
		"/etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"127.0.1.1\t" + hostname + "\n",
		"/etc/resolv.conf": "# the pod has no network\n",
	}
}
