package agent

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// The kinds of probes.
const (
	probeLiveness  = "liveness"
	probeReadiness = "readiness"
	probeStartup   = "startup"
)

// What a probe's figures are when they are 0, as Kubernetes has it.
const (
	defaultProbeTimeout  = time.Second
	defaultProbePeriod   = 10 * time.Second
	defaultProbeFailures = 3
)

// probe is one probe of a container and what came of it: the fields from holds on are the
// agent's, under its lock.
type probe struct {
	kind                   string
	handler                *agentpb.Handler
	delay, timeout, period time.Duration
	successes, failures    uint32
	grace                  *time.Duration

	// holds is what the thresholds make of the findings: a readiness or startup probe does
	// not hold at first, a liveness probe does.
	holds bool
	// last is what was found last, at the zero time when it was never asked; failed is the
	// number of failures in a row, passed that of successes.
	last           finding
	at             time.Time
	failed, passed uint32
}

// newProbe returns nil for nil.
func newProbe(kind string, p *agentpb.Probe) *probe {
	if p == nil {
		return nil
	}
	n := &probe{
		kind:      kind,
		handler:   p.GetHandler(),
		delay:     p.GetInitialDelay().AsDuration(),
		timeout:   or(p.GetTimeout(), defaultProbeTimeout),
		period:    or(p.GetPeriod(), defaultProbePeriod),
		successes: max(1, p.GetSuccessThreshold()),
		failures:  p.GetFailureThreshold(),
		holds:     kind == probeLiveness,
	}
	if n.failures == 0 {
		n.failures = defaultProbeFailures
	}
	if p.GetGrace() != nil {
		g := min(p.GetGrace().AsDuration(), maxGrace)
		n.grace = &g
	}
	return n
}

// or is d, or otherwise when d is 0.
func or(d *durationpb.Duration, otherwise time.Duration) time.Duration {
	if d.AsDuration() == 0 {
		return otherwise
	}
	return d.AsDuration()
}

// note takes over a finding. It tells whether that is news for those who watch (a flip, or a
// further failure up to the threshold) and whether the probe has come to a decision: the
// threshold of what was found is reached. The agent's lock is held.
func (p *probe) note(f finding, at time.Time) (news, decided bool) {
	news = p.at.IsZero() || p.last.ok != f.ok
	p.last, p.at = f, at
	if f.ok {
		p.passed, p.failed = p.passed+1, 0
		decided = p.passed >= p.successes
	} else {
		p.passed, p.failed = 0, p.failed+1
		news = news || p.failed <= p.failures
		decided = p.failed >= p.failures
	}
	if decided && p.holds != f.ok {
		p.holds = f.ok
		news = true
	}
	return news, decided
}

// missed notes that the probe could not be asked, which says nothing about the container.
func (p *probe) missed(cause string, at time.Time) (news bool) {
	news = p.at.IsZero()
	p.last.message, p.at = cause, at
	return news
}

func (p *probe) proto() *agentpb.ProbeState {
	return &agentpb.ProbeState{Kind: p.kind, Ok: p.last.ok, Failures: p.failed, Message: p.last.message, At: stamp(p.at)}
}
