package agent

import (
	"syscall"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// care is what the agent does for a container while it runs and when it ends. It is kept in
// memory only.
type care struct {
	postStart, preStop *agentpb.Handler
	// liveness, readiness and startup are nil when there is no such probe.
	liveness, readiness, startup *probe
	stopSignal                   syscall.Signal
	// message: it may leave a termination message; fallback: the end of its output is one.
	message, fallback bool
}

func newCare(spec *agentpb.ContainerSpec) care {
	c := care{
		postStart:  spec.GetPostStart(),
		preStop:    spec.GetPreStop(),
		liveness:   newProbe(probeLiveness, spec.GetLiveness()),
		readiness:  newProbe(probeReadiness, spec.GetReadiness()),
		startup:    newProbe(probeStartup, spec.GetStartup()),
		stopSignal: syscall.SIGTERM,
		message:    spec.GetTerminationMessagePath() != "",
		fallback:   spec.GetTerminationMessageFallback(),
	}
	if sig := spec.GetStopSignal(); sig != 0 {
		c.stopSignal = syscall.Signal(sig)
	}
	return c
}

// probes are those that there are.
func (c *care) probes() []*probe {
	var list []*probe
	for _, p := range []*probe{c.liveness, c.readiness, c.startup} {
		if p != nil {
			list = append(list, p)
		}
	}
	return list
}

// attended tells whether there is anything to do while the container runs.
func (c *care) attended() bool { return c.postStart != nil || len(c.probes()) > 0 }

// holdsReady tells whether a started container is ready.
func (c *care) holdsReady() bool { return c.readiness == nil || c.readiness.holds }

// grace is how long a container gets to end that failed p.
func (a *Agent) graceFor(p *probe) time.Duration {
	if p != nil && p.grace != nil {
		return *p.grace
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settings.grace
}
