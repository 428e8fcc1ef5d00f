package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// minimumGrace is what a container gets to end after its preStop hook used its grace up.
const minimumGrace = 2 * time.Second

// ending is a container's way to its end: preStop, the stop signal, and KILL when the grace
// is over. There is one at a time; who asks for it too can only hasten it.
type ending struct {
	op *operation
	// why is set when it is the agent that ends the container.
	why string
	// failed: the container is still there, and someone may try again.
	failed bool
	// hurry ends the grace, force all patience.
	hurry, force context.CancelFunc
}

// beginEnding begins the container's end, unless it has begun; nil when the agent is closed.
// a.mu is held.
func (a *Agent) beginEnding(c *container, grace time.Duration, why string) *ending {
	if c.ending != nil {
		if !c.ending.failed {
			return c.ending
		}
		why = cmp.Or(c.ending.why, why)
	}
	patience, hurry := context.WithTimeout(context.Background(), grace)
	force, cut := context.WithCancel(context.Background())
	e := &ending{op: newOperation(), why: why, hurry: hurry, force: cut}
	begun := a.background(func() {
		defer hurry()
		defer cut()
		err := a.end(patience, force, c, grace > 0)
		a.mu.Lock()
		e.failed = err != nil
		a.mu.Unlock()
		e.op.finish(err)
	})
	if !begun {
		hurry()
		cut()
		return nil
	}
	c.ending = e
	c.leave()
	a.touch()
	return e
}

// kill ends a container's process by itself or by force, within grace and what the agent
// adds to it for a preStop hook.
func (a *Agent) kill(ctx context.Context, c *container, grace time.Duration) error {
	a.mu.Lock()
	e := a.beginEnding(c, grace, "")
	a.mu.Unlock()
	if e == nil {
		return errShuttingDown
	}
	return e.hasten(ctx, e.op, grace)
}

// hasten waits for work on a container that is being ended, and gives it no more than grace for that.
func (e *ending) hasten(ctx context.Context, work *operation, grace time.Duration) error {
	if grace == 0 {
		e.force()
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-work.done:
	case <-timer.C:
		e.hurry()
	case <-ctx.Done():
	}
	return work.wait(ctx)
}

// end goes the way of an ending. patience is the grace, force is done when there is none at all.
func (a *Agent) end(patience, force context.Context, c *container, gently bool) error {
	if gently {
		least := a.preStop(patience, force, c)
		if err := c.proc.Signal(c.care.stopSignal); err != nil && !errors.Is(err, ErrNotFound) {
			a.log().Error(err, "container not asked to end", "container", c.Name)
		}
		if a.awaitOwnEnd(patience, force, c, least) {
			return nil
		}
	}
	if err := c.proc.Kill(); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("kill: %w", err)
	}
	timer := time.NewTimer(killLimit)
	defer timer.Stop()
	select {
	case <-c.ended:
		return nil
	case <-a.stop:
		return errShuttingDown
	case <-timer.C:
		return fmt.Errorf("kill: process %d is still there after %v", c.pid, killLimit)
	}
}

// awaitOwnEnd waits for a container that was asked to end: least at least, and until patience ends.
func (a *Agent) awaitOwnEnd(patience, force context.Context, c *container, least time.Duration) bool {
	minimum, cancel := context.WithTimeout(context.Background(), least)
	defer cancel()
	for _, wait := range []context.Context{minimum, patience} {
		select {
		case <-c.ended:
			return true
		case <-wait.Done():
		case <-force.Done():
			return false
		case <-a.stop:
			return false
		}
	}
	return false
}
