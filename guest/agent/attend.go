package agent

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// attend does what is to be done for a container while it runs: its postStart hook, then its
// startup probe, then the other two. It returns once the container has ended or is being
// ended, and nothing of this runs any more.
func (a *Agent) attend(c *container, quit <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.nurse(ctx, c)
	}()
	select {
	case <-quit:
	case <-a.stop:
	case <-done:
	}
	cancel()
	<-done
}

func (a *Agent) nurse(ctx context.Context, c *container) {
	if c.care.postStart != nil {
		if err := a.postStart(ctx, c); err != nil {
			a.condemn(ctx, c, nil, fmt.Sprintf("postStart failed: %v", err))
			return
		}
	}
	if p := c.care.startup; p != nil && !a.ask(ctx, c, p) {
		return
	}
	a.started(ctx, c)
	var wg sync.WaitGroup
	for _, p := range []*probe{c.care.liveness, c.care.readiness} {
		if p != nil {
			wg.Go(func() { a.ask(ctx, c, p) })
		}
	}
	wg.Wait()
}

// started notes that the container has come up.
func (a *Agent) started(ctx context.Context, c *container) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() == nil {
		c.started = true
		a.touch()
	}
}

// ask asks a probe once a period until ctx ends or its purpose is fulfilled: a startup probe's
// is when it holds (true), a liveness or startup probe's when it fails, which ends the container.
func (a *Agent) ask(ctx context.Context, c *container, p *probe) bool {
	a.mu.Lock()
	first := time.Until(c.StartedAt.Add(p.delay))
	a.mu.Unlock()
	timer := time.NewTimer(max(0, first))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	tick := time.NewTicker(p.period)
	defer tick.Stop()
	for {
		f, err := a.act(ctx, c, p.handler, p.timeout)
		f = f.bounded()
		if ctx.Err() != nil {
			return false
		}
		if decided := a.take(c, p, f, err); decided && p.kind != probeReadiness {
			if !f.ok {
				a.condemn(ctx, c, p, fmt.Sprintf("%s probe failed: %s", p.kind, f.message))
				return false
			}
			if p.kind == probeStartup {
				return true
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// take notes what came of asking, and tells whether a threshold is reached.
func (a *Agent) take(c *container, p *probe, f finding, err error) (decided bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var news bool
	if err != nil {
		news = p.missed(bounded("not asked: "+err.Error(), maxProbeMessage), time.Now())
	} else {
		held := p.holds
		if news, decided = p.note(f, time.Now()); held != p.holds {
			a.log().Info("probe changed", "container", c.Name, "probe", p.kind, "ok", p.holds)
		}
	}
	if news {
		a.touch()
	}
	return decided
}

// condemn ends a container that runs, for the reason why; p is the probe that failed, if any. At a
// shutdown, and once it is ended by someone else, it is left to that.
func (a *Agent) condemn(ctx context.Context, c *container, p *probe, why string) {
	grace := a.graceFor(p)
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() != nil || a.shutdown != nil || c.State != stateRunning || c.ending != nil || c.gone() {
		return
	}
	a.log().Info("container is ended", "container", c.Name, "grace", grace.String())
	a.beginEnding(c, grace, bounded(why, maxProbeMessage))
}
