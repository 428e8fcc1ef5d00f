package reconcile

import (
	"slices"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// planner makes plans one after the other, and remembers what came of each pair of a
// desired pod and its status: where both are the same ones as in the round before,
// and no time has come that something depends on, neither is looked at again. What it plans
// is always what Diff does. The zero planner remembers nothing yet.
type planner struct {
	pairs  map[schema.Ref]*pair
	policy Policy
	round  uint64
	// used counts the pairs that belong to the present round.
	used int
	// couples are the pods of the present round with their statuses, by Ref, each Ref once.
	// While it is planned, before are those of the round before, from the next one that may
	// be needed on. spare is their memory, for the next round.
	couples, before, spare []couple
}

// couple is a desired pod and its status, and what is known of them. Each may be nil.
type couple struct {
	pod    *schema.Pod
	status *schema.PodStatus
	known  *pair
}

// pair is a desired pod with its status, which are never changed (see schema.ActualState).
type pair struct {
	pod    *schema.Pod
	status *schema.PodStatus // nil: there is none
	round  uint64

	// plan is what diffPod said at made; it stands until plan.turn. made is zero before.
	plan podPlan
	made time.Time
	// recorded: what the manifest says is kept with the pod; see record.
	recorded bool
	// stays: it does not linger any more; see lingering.
	stays bool
}

// begin begins a round under a policy.
func (p *planner) begin(policy Policy) {
	if p.policy != policy {
		p.pairs, p.policy = nil, policy
		p.forget()
	}
	p.round++
	p.used = 0
	p.before, p.couples, p.spare = p.couples, p.spare[:0], p.couples
}

// forget forgets the couples of the last round.
func (p *planner) forget() {
	clear(p.couples)
	p.couples = p.couples[:0]
}

// meet adds the next couple of the round. What is known of it is mostly where it was in the
// round before.
func (p *planner) meet(pod *schema.Pod, status *schema.PodStatus) *couple {
	p.couples = append(p.couples, couple{pod: pod, status: status})
	c := &p.couples[len(p.couples)-1]
	if pod == nil {
		return c
	}
	for len(p.before) > 0 {
		was := p.before[0].known
		if was != nil && was.pod == pod {
			c.known = was
			p.before = p.before[1:]
			break
		}
		if p.before[0].ref().Compare(pod.Ref) > 0 {
			break
		}
		p.before = p.before[1:]
	}
	c.known = p.pair(pod, status, c.known)
	return c
}

func (c *couple) ref() schema.Ref {
	if c.pod != nil {
		return c.pod.Ref
	}
	return c.status.Ref
}

// end ends a round: what is of no pod any more is forgotten, and the states of the round
// before are let go of.
func (p *planner) end() {
	clear(p.spare)
	p.before = nil
	if len(p.pairs) == p.used {
		return
	}
	for ref, known := range p.pairs {
		if known.round != p.round {
			delete(p.pairs, ref)
		}
	}
}

// pair returns what is remembered of a pod with its status, which may be nil. known is what
// may be it.
func (p *planner) pair(pod *schema.Pod, status *schema.PodStatus, known *pair) *pair {
	if known == nil || known.pod != pod || known.status != status {
		known = p.pairs[pod.Ref]
	}
	if known == nil || known.pod != pod || known.status != status {
		known = &pair{pod: pod, status: status}
		if p.pairs == nil {
			p.pairs = make(map[schema.Ref]*pair)
		}
		p.pairs[pod.Ref] = known
	}
	if known.round != p.round {
		known.round = p.round
		p.used++
	}
	return known
}

// diffPod is the function diffPod, asked once per couple and turn of time.
func (c *couple) diffPod(policy Policy, now time.Time) podPlan {
	known := c.known
	if known.made.IsZero() || now.Before(known.made) || !known.plan.turn.IsZero() && !now.Before(known.plan.turn) {
		known.plan, known.made = diffPod(c.pod, c.status, policy, now), now
	}
	return known.plan
}

// lingering is the function lingering, not asked again of what has run for long.
func (c *couple) lingering(now time.Time) time.Duration {
	if c.pod == nil || c.known.stays {
		return 0
	}
	longer := lingering(c.pod, c.status, now)
	c.known.stays = longer == 0 && (c.status == nil || !slices.ContainsFunc(c.status.Containers, func(s schema.ContainerStatus) bool {
		return now.Sub(s.StartedAt) < lingers // its clock may be ahead
	}))
	return longer
}
