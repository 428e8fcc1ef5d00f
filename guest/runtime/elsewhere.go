package runtime

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// ErrNeedsImage means that who a container runs as can be told only by one who can read
// its image's files.
var ErrNeedsImage = errors.New("the image's own users and groups would have to be read")

// nobody stands for who is not known here: a guest that does not look names up runs the container
// as nobody, and not as root.
const nobody = 65534

// Elsewhere describes a container to one who makes its OCI spec on another machine than the
// one that runs it.
type Elsewhere struct {
	Container *agentpb.ContainerSpec
	Hostname  string
	// Root is the mounted root file system, Cgroup the path below the cgroup root.
	Root, Cgroup string
	Binds        []Bind
}

// Bind is a file or directory of the guest that a container sees.
type Bind struct {
	Source, Target string // absolute
	ReadOnly, File bool
}

// Spec is the OCI spec that containers get on their own machine, with a process namespace of
// their own, but for three things: a user is left by its name for whoever runs the container to
// look up; there is no seccomp filter, which depends on that machine's kernel; and a privileged
// container has none of the machine's devices. ErrRoot and ErrNeedsImage say why there is none.
func (e Elsewhere) Spec() (*specs.Spec, error) {
	c := e.Container
	may, err := resolveSecurity(c.GetSecurity())
	if err != nil {
		return nil, err
	}
	who, name, err := userElsewhere(c)
	if err != nil {
		return nil, err
	}
	in := specInput{
		container: c, user: who, security: may, hostname: e.Hostname, rootfs: e.Root, cgroup: e.Cgroup,
	}
	for _, b := range e.Binds {
		in.binds = append(in.binds, bindMount{source: b.Source, target: b.Target, readOnly: b.ReadOnly, file: b.File})
	}
	sortBinds(in.binds)
	spec := buildSpec(in)
	if name != "" {
		// The primary group is not known here: it cannot be among the further ones.
		spec.Process.User.Username, spec.Process.User.AdditionalGids = name, who.groups
	}
	return spec, nil
}

// userElsewhere is who the container runs as, and the name that whoever runs it is to look up
// instead; "" when the image has no say in it.
func userElsewhere(c *agentpb.ContainerSpec) (user, string, error) {
	security := c.GetSecurity()
	want := userSpec(c.GetUser(), security)
	name, group, hasGroup := strings.Cut(want, ":")
	uid, numeric := parseID(name)
	gid, numericGroup := parseID(group)
	numeric = numeric || name == ""
	if security.GetNonRoot() && !numeric {
		return user{}, "", fmt.Errorf("runAsNonRoot for user %q: %w", name, ErrNeedsImage)
	}
	if !numeric {
		uid = nobody
	}
	if hasGroup && !numericGroup || !hasGroup && !numeric {
		gid = nobody
	}
	who, err := user{uid: uid, gid: gid, home: "/"}.withSecurity(security, nil)
	if err != nil {
		return user{}, "", err
	}
	groupSet := security != nil && security.Group != nil
	switch {
	case want == "":
		return who, "", nil
	case security.GetStrictGroups():
		if !numeric || !groupSet && (!hasGroup || !numericGroup) {
			return user{}, "", fmt.Errorf("supplementalGroupsPolicy Strict for user %q: %w", want, ErrNeedsImage)
		}
		return who, "", nil
	case groupSet:
		return who, name + ":" + strconv.FormatUint(uint64(who.gid), 10), nil
	}
	return who, want, nil
}

// ExecSpec is the process of an exec, from the container's own.
func ExecSpec(container *specs.Process, req *agentpb.ExecRequest_Start) *specs.Process {
	return buildExec(container, req)
}

// OverlayOptions are the mount options of a container's root file system.
func OverlayOptions(lower, upper, work string) string { return overlayOptions(lower, upper, work) }

// GeneratedFiles are the files that every container gets, by the path it sees them at.
func GeneratedFiles(hostname string, n *agentpb.NetworkConfig) map[string]string {
	return generatedFiles(hostname, n)
}

// SharedMemoryDir is the directory that every container sees as /dev/shm: a tmpfs with these mount options.
func SharedMemoryDir() (dir string, options []string) {
	return shmDir, []string{"nosuid", "nodev", "noexec", "mode=1777", fmt.Sprintf("size=%d", shmSize)}
}
