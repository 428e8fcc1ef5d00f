package schema

import (
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// maxPort is the largest port number.
const maxPort = 1<<16 - 1

// portNumber demands the number of a port.
func (d document) portNumber(n int64, p fieldPath) {
	if n < 1 || n > maxPort {
		d.invalid(p, "must be between 1 and %d, is %d", maxPort, n)
	}
}

// portName tells whether a text can be the name of a port, and reports when not.
func (d document) portName(name string, p fieldPath) bool {
	complaints := validation.IsValidPortName(name)
	d.all(p, name, complaints)
	return len(complaints) == 0
}

// probeRules are those of each kind of probe.
func (d document) probeRules(m *containerManifest, p fieldPath) {
	for _, probe := range []struct {
		key  string
		what *probeManifest
	}{{"livenessProbe", m.LivenessProbe}, {"readinessProbe", m.ReadinessProbe}, {"startupProbe", m.StartupProbe}} {
		if probe.what == nil {
			continue
		}
		at := p.key(probe.key)
		grace := probe.what.TerminationGracePeriodSeconds
		switch {
		case probe.key == "readinessProbe":
			if grace != nil {
				d.invalid(at.key("terminationGracePeriodSeconds"), "must not be set for readinessProbes: they end no container")
			}
			continue
		case grace != nil && (*grace < 1 || *grace > maxGraceSeconds):
			d.invalid(at.key("terminationGracePeriodSeconds"), "must be from 1 to %d, is %d", maxGraceSeconds, *grace)
		}
		if n := probe.what.SuccessThreshold; n > 1 {
			d.invalid(at.key("successThreshold"), "must be 1, is %d", n)
		}
	}
}

// maxGraceSeconds is the longest that the agent in the guest waits.
const maxGraceSeconds = 3600

// handlerRules demand one action, and look at what it says.
func (d document) handlerRules(m *handlerManifest, p fieldPath) {
	var set []string
	for _, action := range []struct {
		key string
		set bool
	}{{"exec", m.Exec != nil}, {"httpGet", m.HTTPGet != nil}, {"tcpSocket", m.TCPSocket != nil}, {"grpc", m.GRPC != nil}, {"sleep", m.Sleep != nil}} {
		if action.set {
			set = append(set, action.key)
		}
	}
	switch {
	case len(set) == 0:
		d.invalid(p, "required: must specify a handler type: exec, httpGet, tcpSocket, grpc (of probes) or sleep (of hooks)")
	case len(set) > 1:
		d.invalid(p.key(set[1]), "may not specify more than 1 handler type; it has %s too", set[0])
	}
	if m.Exec != nil && len(m.Exec.Command) == 0 {
		d.invalid(p.key("exec").key("command"), "required: the command to run")
	}
	if m.HTTPGet != nil {
		for i, h := range m.HTTPGet.HTTPHeaders {
			d.all(p.key("httpGet").key("httpHeaders").index(i).key("name"), h.Name, validation.IsHTTPHeaderName(h.Name))
			if strings.ContainsAny(h.Value, "\r\n") {
				d.invalid(p.key("httpGet").key("httpHeaders").index(i).key("value"), "must be one line")
			}
		}
	}
}

// sleepRule: a hook must not sleep for longer than the pod has to end.
func (d document) sleepRule(m *handlerManifest, p fieldPath, grace int64) {
	if m.Sleep != nil && (m.Sleep.Seconds < 0 || m.Sleep.Seconds > grace) {
		d.invalid(p.key("sleep"), "must be non-negative and less than terminationGracePeriodSeconds (%d), is %d", grace, m.Sleep.Seconds)
	}
}

// signalRule demands a signal of Linux.
func (d document) signalRule(name string, p fieldPath) {
	if name != "" && !slices.Contains(signalNames(), name) {
		d.invalid(p, "there is no signal %q%s", shorten(name), suggest(name, signalNames()))
	}
}

// signalNames are those that Kubernetes knows for Linux.
func signalNames() []string {
	names := []string{
		"SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT", "SIGIO", "SIGIOT",
		"SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT", "SIGSEGV", "SIGSTKFLT", "SIGSTOP", "SIGSYS", "SIGTERM",
		"SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ",
		"SIGRTMIN", "SIGRTMAX",
	}
	for n := 1; n <= 15; n++ {
		names = append(names, "SIGRTMIN+"+strconv.Itoa(n))
	}
	for n := 1; n <= 14; n++ {
		names = append(names, "SIGRTMAX-"+strconv.Itoa(n))
	}
	return names
}
