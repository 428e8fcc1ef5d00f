package remote

import "github.com/firkin-dev/firkin-reconcile/guest/agentpb"

// refuseContainer says what of a container is beyond the contract, or beyond a host that is not
// in the machine's network; nil when it can run.
func refuseContainer(c *agentpb.ContainerSpec) error {
	name := c.GetName()
	security := c.GetSecurity()
	switch {
	case security.GetPrivileged():
		return refuse("container %s: privileged", name)
	case security.GetSeccomp() == agentpb.SecurityContext_PROFILE:
		return refuse("container %s: a seccomp profile", name)
	}
	for _, m := range c.GetMounts() {
		switch {
		case m.GetSubPath() != "":
			return refuse("container %s: subPath of volume %s", name, m.GetVolume())
		case m.GetPropagation() != agentpb.Mount_PRIVATE:
			return refuse("container %s: mount propagation of volume %s", name, m.GetVolume())
		}
	}
	for _, h := range []struct {
		what    string
		handler *agentpb.Handler
	}{
		{"livenessProbe", c.GetLiveness().GetHandler()}, {"readinessProbe", c.GetReadiness().GetHandler()},
		{"startupProbe", c.GetStartup().GetHandler()}, {"postStart hook", c.GetPostStart()}, {"preStop hook", c.GetPreStop()},
	} {
		switch h.handler.GetAction().(type) {
		case nil, *agentpb.Handler_Exec, *agentpb.Handler_Sleep:
		default:
			return refuse("container %s: a %s that is not exec", name, h.what)
		}
	}
	return nil
}
