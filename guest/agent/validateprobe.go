package agent

import (
	"math"
	"path"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// Bounds of probes and hooks.
const (
	maxProbeTime   = math.MaxInt32 * time.Second // Kubernetes counts seconds in 32 bits
	minProbePeriod = time.Second
	maxHeaders     = 256
	maxHeaderBytes = 64 << 10 // of a request's headers together
	maxPort        = math.MaxUint16
	maxSignal      = 64
)

// checkCare checks all that is to be done for a container beyond starting it.
func checkCare(c *agentpb.ContainerSpec) error {
	for kind, p := range map[string]*agentpb.Probe{
		probeLiveness: c.GetLiveness(), probeReadiness: c.GetReadiness(), probeStartup: c.GetStartup(),
	} {
		if p == nil {
			continue
		}
		if c.GetInit() && !c.GetSidecar() {
			return invalid("an init container has a %s probe", kind)
		}
		if err := checkProbe(kind+" probe", p); err != nil {
			return err
		}
	}
	for what, h := range map[string]*agentpb.Handler{"postStart": c.GetPostStart(), "preStop": c.GetPreStop()} {
		if h == nil {
			continue
		}
		if h.GetGrpc() != nil {
			return invalid("%s cannot call gRPC", what)
		}
		if err := checkHandler(what, h); err != nil {
			return err
		}
	}
	if s := c.GetStopSignal(); s < 0 || s > maxSignal {
		return invalid("stop signal %d is not within 0 and %d", s, maxSignal)
	}
	p := c.GetTerminationMessagePath()
	if p != "" && (!path.IsAbs(p) || path.Clean(p) == "/") {
		return invalid("termination message path %q is not absolute or is the root", p)
	}
	return checkText("termination message path", p, maxPath)
}

func checkProbe(what string, p *agentpb.Probe) error {
	for figure, d := range map[string]*durationpb.Duration{
		"initial delay": p.GetInitialDelay(), "timeout": p.GetTimeout(), "period": p.GetPeriod(), "grace": p.GetGrace(),
	} {
		if err := checkTime(what+"'s "+figure, d); err != nil {
			return err
		}
	}
	if d := p.GetPeriod().AsDuration(); d != 0 && d < minProbePeriod {
		return invalid("%s's period %v is less than %v", what, d, minProbePeriod)
	}
	if p.GetHandler().GetSleep() != nil {
		return invalid("%s cannot sleep", what)
	}
	return checkHandler(what, p.GetHandler())
}

func checkTime(what string, d *durationpb.Duration) error {
	if d == nil {
		return nil
	}
	if err := d.CheckValid(); err != nil {
		return invalid("%s: %v", what, err)
	}
	if t := d.AsDuration(); t < 0 || t > maxProbeTime {
		return invalid("%s %v is not within 0 and %v", what, t, maxProbeTime)
	}
	return nil
}

func checkHandler(what string, h *agentpb.Handler) error {
	switch action := h.GetAction().(type) {
	case *agentpb.Handler_Exec:
		return checkCommand(action.Exec.GetArgv(), nil)
	case *agentpb.Handler_HttpGet:
		return checkGet(what, action.HttpGet)
	case *agentpb.Handler_TcpSocket:
		return checkTarget(what, action.TcpSocket.GetHost(), action.TcpSocket.GetPort())
	case *agentpb.Handler_Grpc:
		if err := checkText(what+"'s service", action.Grpc.GetService(), maxText); err != nil {
			return err
		}
		return checkTarget(what, "", action.Grpc.GetPort())
	case *agentpb.Handler_Sleep:
		return checkTime(what+"'s sleep", action.Sleep)
	}
	return invalid("%s has no action", what)
}

func checkTarget(what, host string, port uint32) error {
	if port < 1 || port > maxPort {
		return invalid("%s's port %d is not within 1 and %d", what, port, maxPort)
	}
	if len(host) > maxPodName || strings.ContainsAny(host, " /\x00") {
		return invalid("%s's host %q is not a host", what, host)
	}
	return nil
}

func checkGet(what string, get *agentpb.HTTPGetAction) error {
	if err := checkText(what+"'s path", get.GetPath(), maxPath); err != nil {
		return err
	}
	if len(get.GetHeaders()) > maxHeaders {
		return invalid("%s has %d headers, more than %d", what, len(get.GetHeaders()), maxHeaders)
	}
	total := 0
	for _, h := range get.GetHeaders() {
		total += len(h.GetName()) + len(h.GetValue())
		if !isToken(h.GetName()) || strings.ContainsFunc(h.GetValue(), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return invalid("%s's header %q cannot be sent", what, h.GetName())
		}
	}
	if total > maxHeaderBytes {
		return invalid("%s's headers have %d bytes, more than %d", what, total, maxHeaderBytes)
	}
	return checkTarget(what, get.GetHost(), get.GetPort())
}

// isToken tells whether s can be a header's name.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
}
