package runtime

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// addSeccomp gives the spec its filter of system calls, which depends on the capabilities
// in it: Docker's default one unless the security context says otherwise. A privileged
// container has none.
func addSeccomp(spec *specs.Spec, c *agentpb.SecurityContext) error {
	if c.GetPrivileged() {
		return nil
	}
	var profile *specs.LinuxSeccomp
	var err error
	switch c.GetSeccomp() {
	case agentpb.SecurityContext_UNCONFINED:
		return nil
	case agentpb.SecurityContext_PROFILE:
		profile, err = parseSeccomp(c.GetSeccompProfile(), spec)
	default:
		profile, err = defaultSeccomp(spec)
	}
	if err != nil {
		return fmt.Errorf("seccomp profile: %w", err)
	}
	spec.Linux.Seccomp = profile
	return nil
}

// defaultSeccomp is Docker's profile, but for the x32 calls that it allows: Debian's kernel
// has them switched off, and a filter for them takes a third of the time to compile. Who
// tries one is killed.
func defaultSeccomp(spec *specs.Spec) (*specs.LinuxSeccomp, error) {
	profile, err := seccomp.GetDefaultProfile(spec)
	if err != nil {
		return nil, err
	}
	profile.Architectures = slices.DeleteFunc(profile.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
	return profile, nil
}

// parseSeccomp reads a profile as Docker and the kubelet take it. One that does nothing is
// taken for a mistake.
func parseSeccomp(text []byte, spec *specs.Spec) (*specs.LinuxSeccomp, error) {
	profile, err := seccomp.LoadProfile(string(bytes.TrimSpace(text)), spec)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", agent.ErrInvalid, err)
	case profile == nil:
		return nil, fmt.Errorf("%w: it has neither a default action nor system calls", agent.ErrInvalid)
	case profile.ListenerPath != "":
		return nil, fmt.Errorf("%w: listenerPath: there is nobody to listen in the pod's machine", agent.ErrInvalid)
	}
	return profile, nil
}
