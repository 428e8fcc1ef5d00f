package schema

import "strings"

// Kubernetes' defaults of probes, in seconds and results.
const (
	defaultProbeTimeout = 1
	defaultProbePeriod  = 10
	defaultSuccesses    = 1
	defaultFailures     = 3
)

// handlers converts probes, lifecycle hooks and the stop signal.
func (d document) handlers(c *Container, grace int64, m *containerManifest, p fieldPath) {
	c.Liveness = d.probe(m.LivenessProbe, m.Ports, p.key("livenessProbe"))
	c.Readiness = d.probe(m.ReadinessProbe, m.Ports, p.key("readinessProbe"))
	c.Startup = d.probe(m.StartupProbe, m.Ports, p.key("startupProbe"))
	d.probeRules(m, p)
	if m.Lifecycle == nil {
		return
	}
	at := p.key("lifecycle")
	c.PostStart = d.hook(m.Lifecycle.PostStart, m.Ports, at.key("postStart"), grace)
	c.PreStop = d.hook(m.Lifecycle.PreStop, m.Ports, at.key("preStop"), grace)
	c.StopSignal = m.Lifecycle.StopSignal
	d.signalRule(c.StopSignal, at.key("stopSignal"))
}

func (d document) probe(m *probeManifest, ports []portManifest, p fieldPath) *Probe {
	if m == nil {
		return nil
	}
	or := func(n, otherwise int32) int32 {
		if n == 0 {
			return otherwise
		}
		return n
	}
	d.handlerRules(&m.handlerManifest, p)
	return &Probe{
		Handler:             d.handler(&m.handlerManifest, ports, p),
		InitialDelaySeconds: m.InitialDelaySeconds,
		TimeoutSeconds:      or(m.TimeoutSeconds, defaultProbeTimeout),
		PeriodSeconds:       or(m.PeriodSeconds, defaultProbePeriod),
		SuccessThreshold:    or(m.SuccessThreshold, defaultSuccesses),
		FailureThreshold:    or(m.FailureThreshold, defaultFailures),
		GraceSeconds:        m.TerminationGracePeriodSeconds,
	}
}

func (d document) hook(m *handlerManifest, ports []portManifest, p fieldPath, grace int64) *Handler {
	if m == nil {
		return nil
	}
	d.handlerRules(m, p)
	d.sleepRule(m, p, grace)
	h := d.handler(m, ports, p)
	return &h
}

// handler converts what is done to a container; which one it is has been checked.
func (d document) handler(m *handlerManifest, ports []portManifest, p fieldPath) Handler {
	switch {
	case m.Exec != nil:
		return Handler{Exec: m.Exec.Command}
	case m.HTTPGet != nil:
		g := HTTPGet{
			Host: m.HTTPGet.Host, Port: d.port(m.HTTPGet.Port, ports, p.key("httpGet").key("port")),
			Path: m.HTTPGet.Path, Scheme: m.HTTPGet.Scheme, Headers: m.HTTPGet.HTTPHeaders,
		}
		if !strings.HasPrefix(g.Path, "/") {
			g.Path = "/" + g.Path
		}
		if g.Scheme == "" {
			g.Scheme = "HTTP"
		}
		return Handler{HTTP: &g}
	case m.TCPSocket != nil:
		return Handler{TCP: &TCPDial{Host: m.TCPSocket.Host, Port: d.port(m.TCPSocket.Port, ports, p.key("tcpSocket").key("port"))}}
	case m.GRPC != nil:
		return Handler{GRPC: &GRPCCheck{Port: m.GRPC.Port, Service: m.GRPC.Service}}
	case m.Sleep != nil:
		return Handler{SleepSeconds: &m.Sleep.Seconds}
	}
	return Handler{}
}

// port looks up a port that may be named.
func (d document) port(r portRef, ports []portManifest, p fieldPath) int32 {
	if r.name == "" {
		d.portNumber(r.number, p)
		return int32(min(r.number, maxPort)) //nolint:gosec // within bounds
	}
	var names []string
	for _, port := range ports {
		if port.Name == r.name {
			return port.ContainerPort
		}
		names = append(names, port.Name)
	}
	if d.portName(r.name, p) {
		d.report(p, SeverityWarning, ClassInvalid, "the container has no port that is named %q%s; the container waits", r.name, suggest(r.name, names))
	}
	return 0
}

// portless says which of a container's handlers name a port that it has not: with them it
// could become neither ready nor started.
func (c *Container) portless() []string {
	var list []string
	lacks := func(h *Handler) bool {
		return h.HTTP != nil && h.HTTP.Port == 0 || h.TCP != nil && h.TCP.Port == 0
	}
	for _, probe := range []struct {
		name string
		what *Probe
	}{{"livenessProbe", c.Liveness}, {"readinessProbe", c.Readiness}, {"startupProbe", c.Startup}} {
		if probe.what != nil && lacks(&probe.what.Handler) {
			list = append(list, "the port that its "+probe.name+" names")
		}
	}
	for _, hook := range []struct {
		name string
		what *Handler
	}{{"postStart", c.PostStart}, {"preStop", c.PreStop}} {
		if hook.what != nil && lacks(hook.what) {
			list = append(list, "the port that its "+hook.name+" hook names")
		}
	}
	return list
}
