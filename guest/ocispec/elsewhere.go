package ocispec

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

// Elsewhere is Build for one who makes the spec on another machine than the one that runs the
// container, which has a process namespace of its own. It is that of Build but for three things: a
// user is left by its name for whoever runs the container to look up; there is no seccomp filter to
// come, which depends on that machine's kernel; and a privileged container has none of the
// machine's devices. User, PIDs and Devices of in are not read. ErrRoot and ErrNeedsImage say why
// there is none.
func Elsewhere(in Input) (*specs.Spec, error) {
	who, name, err := userElsewhere(in.Container)
	if err != nil {
		return nil, err
	}
	in.User, in.PIDs, in.Devices = who, PIDNamespace{}, nil
	spec, err := Build(in)
	if err != nil {
		return nil, err
	}
	if name != "" {
		// The primary group is not known here: it cannot be among the further ones.
		spec.Process.User.Username, spec.Process.User.AdditionalGids = name, who.Groups
	}
	return spec, nil
}

// userElsewhere is who the container runs as, and the name that whoever runs it is to look up
// instead; "" when the image has no say in it.
func userElsewhere(c *agentpb.ContainerSpec) (User, string, error) {
	security := c.GetSecurity()
	want := UserSpec(c.GetUser(), security)
	name, group, hasGroup := strings.Cut(want, ":")
	uid, numeric := parseID(name)
	gid, numericGroup := parseID(group)
	numeric = numeric || name == ""
	if security.GetNonRoot() && !numeric {
		return User{}, "", fmt.Errorf("runAsNonRoot for user %q: %w", name, ErrNeedsImage)
	}
	if !numeric {
		uid = nobody
	}
	if hasGroup && !numericGroup || !hasGroup && !numeric {
		gid = nobody
	}
	who, err := User{UID: uid, GID: gid, Home: "/"}.WithSecurity(security, nil)
	if err != nil {
		return User{}, "", err
	}
	groupSet := security != nil && security.Group != nil
	switch {
	case want == "":
		return who, "", nil
	case security.GetStrictGroups():
		if !numeric || !groupSet && (!hasGroup || !numericGroup) {
			return User{}, "", fmt.Errorf("supplementalGroupsPolicy Strict for user %q: %w", want, ErrNeedsImage)
		}
		return who, "", nil
	case groupSet:
		return who, name + ":" + strconv.FormatUint(uint64(who.GID), 10), nil
	}
	return who, want, nil
}
