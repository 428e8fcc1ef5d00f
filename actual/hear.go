package actual

import (
	"context"
	"errors"
	"time"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// ask brings one machine's part of the mirror up to date. When ctx ends first, nothing
// was learned.
func (o *Observer) ask(ctx context.Context, m *machine) { o.askIf(ctx, m, nil) }

// errUnwanted: whoever looked wanted to know of other pods.
var errUnwanted = errors.New("its VM was not asked")

// askIf is ask that leaves the VMs of pods that are not wanted alone; nil wants all.
func (o *Observer) askIf(ctx context.Context, m *machine, wanted func(schema.Ref) bool) {
	o.mu.Lock()
	m.asks++
	m.askedAt = time.Now()
	question := m.asks
	o.mu.Unlock()
	limited, cancel := context.WithTimeoutCause(ctx, observeTimeout, errNoAnswer)
	defer cancel()
	info, err := m.handle.Info(limited)
	var pod *agentpb.PodState
	switch {
	case ctx.Err() != nil:
		return
	case errors.Is(err, driver.ErrNotFound):
		o.forget(m)
		return
	case err != nil:
		if limited.Err() != nil {
			err = errNoAnswer
		}
		o.mu.Lock()
		info = m.info
		o.mu.Unlock()
		info.State, info.Message = driver.StateUnknown, err.Error()
	case info.State != driver.StateStopped && !wants(wanted, info):
		err = errUnwanted
	case info.State != driver.StateStopped:
		if pod, err = agentpb.NewAgentClient(m.handle.Agent()).Describe(limited, &agentpb.DescribeRequest{}); err != nil {
			err = fromAgent(limited, err)
		}
		if ctx.Err() != nil {
			return
		}
	}
	o.answer(m, question, info, pod, err)
}

// wants tells whether a machine is of a wanted pod; one that nothing is known of may be.
func wants(wanted func(schema.Ref) bool, info driver.Info) bool {
	if wanted == nil {
		return true
	}
	pod := decodePod([]byte(info.Spec.Annotations[annotationPod]))
	return pod == nil || wanted(pod.Ref)
}

// answer takes the answer to a question, unless a later one was answered already.
func (o *Observer) answer(m *machine, question uint64, info driver.Info, pod *agentpb.PodState, silent error) {
	if info.State == driver.StateStopped {
		o.noteEnd(m, question, info)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if question < m.answered {
		return
	}
	m.answered = question
	news := o.know(m, info)
	if o.take(m, pod, silent) || news {
		o.changed(m)
	}
	if m.up() && m.silent == nil && time.Since(m.info.StartedAt) >= restartReset && m.made != nil {
		o.failures.settle(m.made.Ref)
	}
}

// take notes what the agent said, or why it did not; it says whether that is news. A
// word that no honest agent says counts as none. The caller holds o.mu.
func (o *Observer) take(m *machine, pod *agentpb.PodState, silent error) bool {
	if pod != nil && silent == nil {
		silent = checkState(pod, m.made)
	}
	was := m.silent
	m.silent = silent
	news := (was == nil) != (silent == nil) || was != nil && was.Error() != silent.Error()
	if silent == nil && pod != nil {
		news = m.accept(pod) || news
	}
	return news
}

// outdate has the status of a machine made anew. The caller holds o.mu.
func (o *Observer) outdate(m *machine) {
	if m.view != nil {
		m.view = nil
		o.news = append(o.news, m)
	}
}

// changed tells whoever waits. The caller holds o.mu.
func (o *Observer) changed(m *machine) {
	o.outdate(m)
	if o.wake != nil {
		o.wake()
	}
}

// heard takes the state an agent sent of itself or answered an action with.
func (o *Observer) heard(m *machine, state *agentpb.PodState) error {
	if state == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if m.info.State == driver.StateStopped {
		return nil // a last word that was overtaken by the end
	}
	if o.take(m, state, nil) {
		o.changed(m)
	}
	return m.silent
}

// noteEnd counts a death: the end of a machine that was up, and that nobody here asked
// for. It comes before the end is shown, so that back-off is there when it is.
func (o *Observer) noteEnd(m *machine, question uint64, info driver.Info) {
	o.mu.Lock()
	died := question >= m.answered && m.up() && !m.ending && m.made != nil
	if died {
		m.ending = true
	}
	pod := m.made
	o.mu.Unlock()
	if died {
		if !info.StartedAt.IsZero() && time.Since(info.StartedAt) >= restartReset {
			o.failures.settle(pod.Ref)
		}
		o.failures.add(pod.Ref, pod, death(pod, info))
	}
}

// forget drops a machine that is no more.
func (o *Observer) forget(m *machine) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tick++
	o.deleted[m.handle.ID()] = o.tick
	o.leave(m)
	if o.machines[m.handle.ID()] == m {
		delete(o.machines, m.handle.ID())
		o.changed(m)
	}
}

// leave lets go of a machine that is no more: it did not die, it was deleted. The caller
// holds o.mu.
func (o *Observer) leave(m *machine) {
	m.unfollow()
	o.made.remove(m)
	o.shown = nil
	if m.made != nil {
		o.failures.drop(m.made.Ref, func(f schema.Failure) bool { return f.Reason == schema.ReasonMachineDied })
	}
}
