package ocispec

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// ErrRoot means that a container that must not run as root would. It is an agent.ErrInvalid.
var ErrRoot = fmt.Errorf("%w: container has runAsNonRoot and would run as root", agent.ErrInvalid)

// allCapabilities stands for every capability there is.
const allCapabilities = "ALL"

// security is what a container's processes may do.
type security struct {
	capabilities    []string // with "CAP_", sorted
	privileged      bool
	readOnlyRoot    bool
	noNewPrivileges bool
	// unmasked: nothing of /proc and /sys is hidden or read-only beyond what the mounts say.
	unmasked bool
}

// resolveSecurity judges a security context; nil is Docker's defaults.
func resolveSecurity(c *agentpb.SecurityContext) (security, error) {
	caps, err := capabilities(c)
	if err != nil {
		return security{}, err
	}
	return security{
		capabilities: caps, privileged: c.GetPrivileged(), readOnlyRoot: c.GetReadOnlyRoot(),
		noNewPrivileges: c.GetNoNewPrivileges(), unmasked: c.GetPrivileged() || c.GetUnmaskedProc(),
	}, nil
}

// capabilities are the default ones with those added and without those dropped; a name
// wins over ALL, dropping over adding, as in Kubernetes.
func capabilities(c *agentpb.SecurityContext) ([]string, error) {
	if c.GetPrivileged() {
		return knownCapabilities(), nil
	}
	add, allAdded, err := capabilityNames(c.GetAddCapabilities())
	if err != nil {
		return nil, fmt.Errorf("add capability: %w", err)
	}
	drop, allDropped, err := capabilityNames(c.GetDropCapabilities())
	if err != nil {
		return nil, fmt.Errorf("drop capability: %w", err)
	}
	caps := defaultCapabilities()
	if allAdded {
		caps = knownCapabilities()
	}
	if allDropped {
		caps = nil
	}
	caps = append(caps, add...)
	caps = slices.DeleteFunc(caps, func(name string) bool { return slices.Contains(drop, name) })
	slices.Sort(caps)
	return slices.Compact(caps), nil
}

// capabilityNames gives names their "CAP_", and tells whether ALL is among them.
func capabilityNames(names []string) (list []string, all bool, _ error) {
	known := knownCapabilities()
	for _, n := range names {
		name := strings.TrimPrefix(strings.ToUpper(n), "CAP_")
		if name == allCapabilities {
			all = true
			continue
		}
		name = "CAP_" + name
		if !slices.Contains(known, name) {
			return nil, false, fmt.Errorf("%w: there is no capability %q", agent.ErrInvalid, n)
		}
		list = append(list, name)
	}
	return list, all, nil
}

// ociCapabilities: none are inheritable or ambient, so that a user other than root has
// those only that a program's file gives.
func ociCapabilities(caps []string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
}

// UserSpec is who ResolveUser is to find: the image's user, or the one set instead. A group
// set instead leaves the user the groups that the image gives it.
func UserSpec(imageUser string, c *agentpb.SecurityContext) string {
	if c != nil && c.User != nil {
		return strconv.FormatInt(c.GetUser(), 10)
	}
	if c != nil && c.Group != nil {
		name, _, _ := strings.Cut(imageUser, ":")
		return name
	}
	return imageUser
}

// WithSecurity changes who was found by what the security context and the group of the
// pod's volumes (nil: none) say.
func (u User) WithSecurity(c *agentpb.SecurityContext, fsGroup *int) (User, error) {
	if c != nil && c.Group != nil {
		gid, err := groupID(c.GetGroup())
		if err != nil {
			return User{}, err
		}
		u.GID = gid
	}
	u.Groups = slices.Clone(u.Groups)
	if c.GetStrictGroups() {
		u.Groups = nil // those that the image's /etc/group has for the user
	}
	extra := c.GetExtraGroups()
	if fsGroup != nil {
		extra = append(slices.Clone(extra), int64(*fsGroup))
	}
	for _, g := range extra {
		gid, err := groupID(g)
		if err != nil {
			return User{}, err
		}
		u.Groups = append(u.Groups, gid)
	}
	if c.GetNonRoot() && u.UID == 0 {
		return User{}, fmt.Errorf("%w (uid 0)", ErrRoot)
	}
	return u, nil
}

func groupID(id int64) (uint32, error) {
	if id < 0 || id >= math.MaxUint32 {
		return 0, fmt.Errorf("%w: group %d is not within 0 and %d", agent.ErrInvalid, id, math.MaxUint32-1)
	}
	return uint32(id), nil
}
