package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// waitContainer waits for the container's end and reaps it. The caller may leave at
// any time; a reaping that has begun is finished.
func (a *Agent) waitContainer(ctx context.Context, name string) (*agentpb.WaitContainerResponse, error) {
	if err := checkName("container name", name, maxName); err != nil {
		return nil, err
	}
	c, err := a.awaitEnd(ctx, name)
	if err == nil {
		err = a.reap(ctx, c)
	}
	if err == nil {
		_, err = a.saved(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("wait for container %s: %w", name, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return &agentpb.WaitContainerResponse{
		Pod:      a.podState(),
		ExitCode: int32(c.ExitCode),
		Reason:   c.Reason,
		Tail:     c.Tail,
	}, nil
}

// awaitEnd returns the container once its process has ended.
func (a *Agent) awaitEnd(ctx context.Context, name string) (*container, error) {
	a.mu.Lock()
	c := a.containers[name]
	var making *operation
	if c != nil && c.State == stateCreating {
		making = c.busy
	}
	a.mu.Unlock()
	if c == nil {
		return nil, ErrNotFound
	}
	if making != nil {
		if err := making.wait(ctx); err != nil {
			return nil, err
		}
	}
	select {
	case <-c.ended:
		return c, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-a.stop:
		return nil, errShuttingDown
	}
}

// reap frees the resources of a container that has ended; who comes second waits
// for the first.
func (a *Agent) reap(ctx context.Context, c *container) error {
	for {
		a.mu.Lock()
		if c.State == stateTerminated {
			a.mu.Unlock()
			return nil
		}
		op := c.busy
		if op == nil {
			op = newOperation()
			c.busy = op
			a.mu.Unlock()
			work, cancel := detached(ctx, cleanLimit)
			defer cancel()
			err := a.clean(work, c)
			a.release(c, err)
			return err
		}
		a.mu.Unlock()
		if err := op.wait(ctx); err != nil && ctx.Err() != nil {
			return err
		}
	}
}

// clean frees what a container held and makes it a terminated one. Its busy
// operation is the caller's.
func (a *Agent) clean(ctx context.Context, c *container) error {
	if err := a.rt.Clean(ctx, c.ID); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c.State = stateTerminated
	a.histories[c.Name].add(c.run())
	a.changedState()
	a.touch()
	return nil
}

// release ends the caller's operation on c.
func (a *Agent) release(c *container, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	op := c.busy
	c.busy = nil
	op.finish(err)
}

// removeContainer ends a container and forgets it. Who comes second finds it gone.
func (a *Agent) removeContainer(ctx context.Context, req *agentpb.RemoveContainerRequest) (*agentpb.RemoveContainerResponse, error) {
	name := req.GetName()
	if err := checkName("container name", name, maxName); err != nil {
		return nil, err
	}
	grace, err := graceOf(req.GetGrace())
	if err != nil {
		return nil, err
	}
	c, err := a.claim(ctx, name, grace)
	if err != nil {
		return nil, fmt.Errorf("remove container %s: %w", name, err)
	}
	work, cancel := detached(ctx, grace+minimumGrace+killLimit+cleanLimit+saveLimit)
	defer cancel()
	resp := &agentpb.RemoveContainerResponse{}
	if c != nil {
		err := a.terminate(work, c, grace)
		if err == nil {
			a.forget(c)
		}
		a.release(c, err)
		if err != nil {
			return nil, fmt.Errorf("remove container %s: %w", name, err)
		}
		resp.Existed, resp.ExitCode = true, int32(c.ExitCode)
	}
	if resp.Pod, err = a.saved(work); err != nil {
		return nil, fmt.Errorf("remove container %s: %w", name, err)
	}
	return resp, nil
}

// claim takes the container to end it, once nobody else has it; nil when there is none. Who
// is ending it already gets no more than grace for that.
func (a *Agent) claim(ctx context.Context, name string, grace time.Duration) (*container, error) {
	for {
		a.mu.Lock()
		if a.pod == nil {
			a.mu.Unlock()
			return nil, errNotConfigured
		}
		c := a.containers[name]
		if c == nil || c.busy == nil {
			defer a.mu.Unlock()
			if c != nil {
				c.busy = newOperation()
			}
			return c, nil
		}
		op, e := c.busy, c.ending
		a.mu.Unlock()
		var err error
		if e != nil {
			err = e.hasten(ctx, op, grace)
		} else {
			err = op.wait(ctx)
		}
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
}

// terminate ends a claimed container's process if it runs, and frees what it held.
func (a *Agent) terminate(ctx context.Context, c *container, grace time.Duration) error {
	a.mu.Lock()
	state := c.State
	a.mu.Unlock()
	if state == stateTerminated {
		return nil
	}
	if state == stateRunning {
		if err := a.kill(ctx, c, grace); err != nil {
			return err
		}
	}
	return a.clean(ctx, c)
}

// forget drops the record; the name's history stays.
func (a *Agent) forget(c *container) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.containers[c.Name] == c {
		delete(a.containers, c.Name)
	}
	a.changedState()
	a.touch()
}
