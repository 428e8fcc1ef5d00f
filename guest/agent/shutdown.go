package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// How long a power-off waits for its caller to have the reply: until the call is
// over, for replyLimit at most, and replyDelay more for the bytes on their way.
const (
	replyLimit = 500 * time.Millisecond
	replyDelay = 50 * time.Millisecond
)

// doShutdown ends all containers, closes the store and powers the machine off soon
// after it returned. Nothing that fails on the way stops it.
func (a *Agent) doShutdown(ctx context.Context, req *agentpb.ShutdownRequest) (*agentpb.ShutdownResponse, error) {
	grace, err := graceOf(req.GetGrace())
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	op, first := a.shutdown, a.shutdown == nil
	if first {
		op = newOperation()
		a.shutdown = op
		a.touch()
	}
	a.mu.Unlock()
	resp := &agentpb.ShutdownResponse{}
	if !first {
		if err := op.wait(ctx); err != nil {
			return nil, fmt.Errorf("shut down: %w", err)
		}
		return resp, nil
	}
	work, cancel := detached(ctx, grace+minimumGrace+killLimit+cleanLimit+lastTrimLimit+2*saveLimit)
	defer cancel()
	resp.TrimmedBytes = a.teardown(work, grace)
	op.finish(nil)
	go a.powerOff(ctx)
	return resp, nil
}

// teardown returns what the last trim gave back.
func (a *Agent) teardown(ctx context.Context, grace time.Duration) uint64 {
	a.settle(ctx)
	a.mu.Lock()
	configured := a.pod != nil
	a.mu.Unlock()
	if !configured {
		return 0
	}
	a.stopContainers(ctx, grace)
	trimming, cancel := context.WithTimeout(ctx, lastTrimLimit)
	defer cancel()
	trimmed, err := a.rt.Trim(trimming)
	if err != nil {
		a.log().Error(err, "store not trimmed at shutdown")
	}
	if err := a.closeStore(ctx); err != nil {
		a.log().Error(err, "store not closed in order")
	}
	return trimmed
}

// settle waits for work on the store that has begun; no more can begin.
func (a *Agent) settle(ctx context.Context) {
	a.mu.Lock()
	var busy []*operation
	if a.configure != nil {
		busy = append(busy, a.configure)
	}
	for _, d := range a.dirs {
		if d.busy != nil {
			busy = append(busy, d.busy)
		}
	}
	for _, v := range a.volumes {
		if v.busy != nil {
			busy = append(busy, v.busy)
		}
	}
	a.mu.Unlock()
	a.endImages(ctx)
	for _, op := range busy {
		_ = op.wait(ctx) // what came of it does not matter here
	}
}

// stopContainers ends the containers, all at once, and after them the sidecars, in the reverse order
// of their addition, one by one. All of it together has the grace.
func (a *Agent) stopContainers(ctx context.Context, grace time.Duration) {
	deadline := time.Now().Add(grace)
	var regular, sidecars []string
	a.mu.Lock()
	for _, c := range a.sortedContainers() {
		if c.Sidecar {
			sidecars = append(sidecars, c.Name)
		} else {
			regular = append(regular, c.Name)
		}
	}
	a.mu.Unlock()
	var wg sync.WaitGroup
	for _, name := range regular {
		wg.Go(func() { a.stopContainer(ctx, name, grace) })
	}
	wg.Wait()
	for _, name := range slices.Backward(sidecars) {
		a.stopContainer(ctx, name, max(0, time.Until(deadline)))
	}
}

func (a *Agent) stopContainer(ctx context.Context, name string, grace time.Duration) {
	c, err := a.claim(ctx, name, grace)
	if err == nil && c != nil {
		err = a.terminate(ctx, c, grace)
		a.release(c, err)
	}
	if err != nil {
		a.log().Error(err, "container not stopped in order", "container", name)
	}
}

// closeStore saves the state a last time and lets go of the store.
func (a *Agent) closeStore(ctx context.Context) error {
	if err := a.save(ctx); err != nil {
		a.log().Error(err, "state not saved at shutdown")
	}
	if err := a.saver.slot.acquire(ctx); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	a.saver.closed = true
	a.saver.slot.release()
	if err := a.rt.CloseStore(ctx); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// powerOff ends the machine once the reply is out. It is the agent's last deed: a
// runtime's PowerOff may call Close.
func (a *Agent) powerOff(call context.Context) {
	timer := time.NewTimer(replyLimit)
	defer timer.Stop()
	select {
	case <-call.Done():
	case <-timer.C:
	}
	timer.Reset(replyDelay)
	select {
	case <-timer.C:
	case <-a.stop:
		return
	}
	if err := a.rt.PowerOff(); err != nil {
		a.log().Error(err, "machine not powered off")
	}
}
