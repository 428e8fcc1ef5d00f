package actual

import (
	"context"
	"sync"
	"time"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// Bounds on how often a machine whose stream broke is asked again.
const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
)

// Run follows every machine until ctx ends, and calls wake after each change. wake
// must not block. Run returns once everything it started has ended.
func (o *Observer) Run(ctx context.Context, wake func()) error {
	var followers sync.WaitGroup
	defer followers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	o.mu.Lock()
	o.wake = wake
	o.follow = func(m *machine) {
		if m.stop != nil {
			return
		}
		var followed context.Context
		followed, m.stop = context.WithCancel(ctx)
		followers.Go(func() { o.followMachine(followed, m) })
	}
	for _, m := range o.machines {
		o.follow(m)
	}
	o.mu.Unlock()
	defer o.unfollow()

	tick := time.NewTicker(relistEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := o.refresh(ctx, relistAsks, nil); err != nil && ctx.Err() == nil {
			o.log.Error(err, "machines could not be listed; what was known is kept")
		}
	}
}

func (o *Observer) unfollow() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wake, o.follow = nil, nil
	for _, m := range o.machines {
		m.unfollow()
	}
}

// unfollow ends following the machine. The caller holds Observer.mu.
func (m *machine) unfollow() {
	if m.stop != nil {
		m.stop()
		m.stop = nil
	}
}

// followMachine keeps one machine's part of the mirror true: by its event stream, and by
// asking whenever the stream broke.
func (o *Observer) followMachine(ctx context.Context, m *machine) {
	pause := retryFirst
	for ctx.Err() == nil {
		began := time.Now()
		o.watch(ctx, m)
		if ctx.Err() != nil {
			return
		}
		// A stream that breaks as soon as it is there must not make us ask all the time.
		if time.Since(began) >= retryMost {
			pause = retryFirst
		}
		o.ask(ctx, m)
		select {
		case <-ctx.Done():
		case <-m.kick:
			pause = retryFirst
			continue
		case <-time.After(pause):
		}
		pause = min(2*pause, retryMost)
	}
}

// watch follows the event stream until it breaks.
func (o *Observer) watch(ctx context.Context, m *machine) {
	o.mu.Lock()
	stopped := m.info.State == driver.StateStopped
	o.mu.Unlock()
	if stopped {
		return // asking will tell when it was started again
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := agentpb.NewAgentClient(m.handle.Agent()).Watch(ctx, &agentpb.WatchRequest{})
	if err != nil {
		return
	}
	o.mu.Lock()
	m.streaming = true
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		m.streaming = false
	}()
	for {
		pod, err := stream.Recv()
		if err != nil || ctx.Err() != nil || o.heard(m, pod) != nil {
			return
		}
	}
}
