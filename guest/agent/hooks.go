package agent

import (
	"context"
	"errors"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// hook does what a lifecycle hook says. As the kubelet has it, an httpGet hook is content with
// any answer.
func (a *Agent) hook(ctx context.Context, c *container, h *agentpb.Handler) error {
	var f finding
	var err error
	if get := h.GetHttpGet(); get != nil {
		f, err = a.httpGet(ctx, get, true)
	} else {
		f, err = a.act(ctx, c, h, 0)
	}
	if err == nil && !f.ok {
		err = errors.New(f.bounded().message)
	}
	return err
}

// postStart runs the container's hook, however long that takes.
func (a *Agent) postStart(ctx context.Context, c *container) error {
	return a.hook(ctx, c, c.care.postStart)
}

// preStop runs the container's hook, once, until patience or force ends or the container has
// ended. It returns how long the container then gets at least.
func (a *Agent) preStop(patience, force context.Context, c *container) time.Duration {
	a.mu.Lock()
	hook := c.care.preStop
	c.care.preStop = nil
	a.mu.Unlock()
	if hook == nil || c.gone() {
		return 0
	}
	ctx, cancel := context.WithCancel(patience)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-c.proc.Done():
		case <-force.Done():
		case <-a.stop:
		case <-ctx.Done():
		}
		cancel()
	}()
	err := a.hook(ctx, c, hook)
	cancel()
	<-watched
	if err != nil && !c.gone() {
		// What it wrote may be secret.
		a.log().Info("preStop hook did not succeed", "container", c.Name, "inTime", patience.Err() == nil)
	}
	return minimumGrace
}
