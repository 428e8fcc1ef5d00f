package ocispec

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// ociVersion is the version of the specification the spec keeps to.
const ociVersion = "1.0.2"

// terminalType is what programs are told of a terminal that do not know better.
const terminalType = "TERM=xterm"

// Input is all that a container's OCI spec is built from.
type Input struct {
	Container *agentpb.ContainerSpec
	User      User
	Hostname  string
	Root      string // the mounted root file system
	Cgroup    string // path below the cgroup root
	Binds     []Bind
	PIDs      PIDNamespace
	// MaxPIDs is how many processes and threads it may have: at most 4096, which 0 stands for.
	MaxPIDs int64
	// Devices of the machine that a privileged container gets.
	Devices []specs.LinuxDevice
}

// Build makes the OCI spec, but for the seccomp filter, which depends on the kernel. Binds are
// mounted before those below them; of two at one place the later one is seen. It is a pure
// function. A security context that cannot be is an agent.ErrInvalid.
func Build(in Input) (*specs.Spec, error) {
	s, err := resolveSecurity(in.Container.GetSecurity())
	if err != nil {
		return nil, err
	}
	c, binds := in.Container, sortBinds(in.Binds)
	oomScore := containerOOMScore
	spec := &specs.Spec{
		Version: ociVersion,
		Root:    &specs.Root{Path: in.Root, Readonly: s.readOnlyRoot},
		Process: &specs.Process{
			Terminal:        c.GetTty(),
			Args:            c.GetArgv(),
			Env:             containerEnv(in),
			Cwd:             WorkDir(c),
			User:            in.User.oci(),
			Capabilities:    ociCapabilities(s.capabilities),
			NoNewPrivileges: s.noNewPrivileges,
			Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: openFilesSoft, Hard: openFilesHard}},
			// Above that of PID 1, which is inherited otherwise.
			OOMScoreAdj: &oomScore,
		},
		Mounts: append(systemMounts(s.privileged), ociBinds(binds)...),
		Linux: &specs.Linux{
			Namespaces:        namespaces(in.PIDs),
			CgroupsPath:       in.Cgroup,
			Resources:         resources(c.GetResources(), in.MaxPIDs),
			RootfsPropagation: rootPropagation(binds),
			Devices:           in.Devices,
		},
	}
	if !s.unmasked {
		spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = maskedPaths(), readonlyPaths()
	}
	return spec, nil
}

// containerEnv is the container's environment with what every process has.
func containerEnv(in Input) []string {
	defaults := []string{"HOSTNAME=" + in.Hostname, "HOME=" + in.User.Home}
	if in.Container.GetTty() {
		defaults = append(defaults, terminalType)
	}
	return buildEnv(in.Container.GetEnv(), defaults...)
}

// Exec is the process of an exec into a container from the container's own.
func Exec(container *specs.Process, req *agentpb.ExecRequest_Start) *specs.Process {
	p := *container
	p.Args = req.GetArgv()
	p.Terminal = req.GetTty()
	p.Env = buildEnv(append(append([]string{}, container.Env...), req.GetEnv()...))
	if req.GetTty() {
		p.Env = buildEnv(p.Env, terminalType)
		if req.GetRows() > 0 && req.GetColumns() > 0 {
			p.ConsoleSize = &specs.Box{Height: uint(req.GetRows()), Width: uint(req.GetColumns())}
		}
	}
	return &p
}

// WorkDir is the directory that a container starts in.
func WorkDir(c *agentpb.ContainerSpec) string {
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

// resources turns requests and limits into cgroup settings, as Kubernetes does.
func resources(r *agentpb.Resources, pids int64) *specs.LinuxResources {
	limit := int64(maxPIDs)
	if pids > 0 {
		limit = min(limit, pids)
	}
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

// sortBinds returns the mounts with each before those below it, so that none covers another.
func sortBinds(binds []Bind) []Bind {
	return slices.SortedStableFunc(slices.Values(binds), func(a, b Bind) int {
		return strings.Count(a.Target, "/") - strings.Count(b.Target, "/")
	})
}

// OverlayOptions are the mount options of a container's root file system.
// volatile: nothing of it outlives a crash of the machine, so nothing is synced.
func OverlayOptions(lower, upper, work string) string {
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
