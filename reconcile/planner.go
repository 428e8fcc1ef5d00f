package reconcile

import (
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// planner makes plans one after the other, and remembers what came of each pair of a
// desired pod and its status: where both are of the same Edition as in the round before,
// and no time has come that something depends on, neither is looked at again. What it plans
// is always what Diff does. The zero planner remembers nothing yet.
type planner struct {
	pairs  map[schema.Ref]*pair
	policy Policy
	round  uint64
	// used counts the pairs that belong to the present round.
	used int
}

// pair is a desired pod with its status, as far as their Editions tell them from others.
type pair struct {
	desired *schema.Edition
	seen    *schema.Edition // nil: there is no status
	round   uint64

	// plan is what diffPod said at made; it stands until plan.turn. made is zero before.
	plan podPlan
	made time.Time
	// recorded: what the manifest says is kept with the pod; see record.
	recorded bool
}

// begin begins a round under a policy.
func (p *planner) begin(policy Policy) {
	if p.policy != policy {
		p.pairs, p.policy = nil, policy
	}
	p.round++
	p.used = 0
}

// end ends a round: what is of no pod any more is forgotten.
func (p *planner) end() {
	if len(p.pairs) == p.used {
		return
	}
	for ref, known := range p.pairs {
		if known.round != p.round {
			delete(p.pairs, ref)
		}
	}
}

// pair returns what is remembered of a pod with its status, which may be nil; it is nil
// when their Editions do not tell whether they are the same as before.
func (p *planner) pair(pod *schema.Pod, status *schema.PodStatus) *pair {
	if pod.Edition == nil || status != nil && status.Edition == nil {
		return nil
	}
	var seen *schema.Edition
	if status != nil {
		seen = status.Edition
	}
	known := p.pairs[pod.Ref]
	if known == nil || known.desired != pod.Edition || known.seen != seen {
		known = &pair{desired: pod.Edition, seen: seen}
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

// diffPod is the function diffPod, asked once per pair and turn of time. Its actions hold a
// copy of the pod: who keeps one of them is not to keep the whole desired state with it.
func (p *planner) diffPod(pod *schema.Pod, status *schema.PodStatus, policy Policy, now time.Time) podPlan {
	known := p.pair(pod, status)
	if known == nil {
		own := *pod
		return diffPod(&own, status, policy, now)
	}
	if known.made.IsZero() || now.Before(known.made) || !known.plan.turn.IsZero() && !now.Before(known.plan.turn) {
		own := *pod
		known.plan, known.made = diffPod(&own, status, policy, now), now
	}
	return known.plan
}
