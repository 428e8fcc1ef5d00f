package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// phases measures the steps of an add, one after the other.
type phases struct {
	last time.Time
	list []*agentpb.Phase
}

func (p *phases) done(name string) {
	now := time.Now()
	p.list = append(p.list, &agentpb.Phase{Name: name, Took: durationpb.New(now.Sub(p.last))})
	p.last = now
}

// addContainer reserves the name, prepares, starts and commits; when one of them
// fails everything is as before. Should cleaning up fail too, the container stays
// as an exited one (StartError), for a wait or remove to try again.
func (a *Agent) addContainer(ctx context.Context, spec *agentpb.ContainerSpec) (*agentpb.AddContainerResponse, error) {
	if err := checkContainer(spec); err != nil {
		return nil, err
	}
	p := phases{last: time.Now()}
	c, err := a.reserve(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("add container %s: %w", spec.GetName(), err)
	}
	if c == nil {
		return &agentpb.AddContainerResponse{Pod: a.snapshot()}, nil
	}
	p.done("reserve")
	work, cancel := detached(ctx, addLimit)
	defer cancel()
	proc, clean, err := a.launch(work, c, spec, &p)
	if err != nil {
		if clean {
			a.abort(c, err)
		} else {
			a.botch(c, err)
		}
		return nil, fmt.Errorf("add container %s: %w", spec.GetName(), err)
	}
	a.commit(c, proc, spec)
	p.done("commit")
	return &agentpb.AddContainerResponse{Pod: a.snapshot(), Phases: p.list}, nil
}

// reserve takes the container's name. It returns nil without an error when the
// container was started already under the same digest.
func (a *Agent) reserve(ctx context.Context, spec *agentpb.ContainerSpec) (*container, error) {
	for {
		a.mu.Lock()
		if err := a.ready(); err != nil {
			a.mu.Unlock()
			return nil, err
		}
		c := a.containers[spec.GetName()]
		if c == nil || c.State == stateTerminated && c.busy == nil {
			defer a.mu.Unlock()
			return a.newContainer(spec, c)
		}
		op, creating := c.busy, c.State == stateCreating
		botched := c.State == stateExited && c.Reason == reasonStartError
		same := c.Digest == spec.GetDigest()
		a.mu.Unlock()
		switch {
		case botched:
			if err := a.reap(ctx, c); err != nil {
				return nil, err
			}
			continue
		case !same && (creating || op == nil):
			return nil, ErrExists
		case same && op == nil:
			return nil, nil
		}
		// It is being made (join), or ended (look again).
		if err := op.wait(ctx); err != nil && (creating || ctx.Err() != nil) {
			return nil, err
		}
	}
}

// newContainer makes the reservation; before is the terminated record of the name,
// if any. a.mu is held.
func (a *Agent) newContainer(spec *agentpb.ContainerSpec, before *container) (*container, error) {
	for _, m := range spec.GetMounts() {
		if err := a.usable(m.GetVolume()); err != nil {
			return nil, err
		}
	}
	growth := len(spec.GetManifest())
	if before != nil {
		growth -= len(before.Manifest)
	}
	if err := a.roomForManifest(growth); err != nil {
		return nil, err
	}
	h := a.histories[spec.GetName()]
	if h == nil {
		if err := a.roomForHistory(); err != nil {
			return nil, err
		}
		h = &history{Order: a.nextOrder}
		a.nextOrder++
		a.histories[spec.GetName()] = h
	}
	c := &container{record: newRecord(spec, h.Starts), busy: newOperation(), ended: make(chan struct{}), before: before}
	c.out = a.outputs.open(c.Name, c.ID, c.Restarts)
	a.containers[c.Name] = c
	a.changedState()
	a.touch()
	return c, nil
}

// roomForHistory makes room for one more name, at the cost of the oldest one that
// has no container any more. a.mu is held.
func (a *Agent) roomForHistory() error {
	if len(a.histories) < maxContainers {
		return nil
	}
	oldest := ""
	for name, h := range a.histories {
		if a.containers[name] == nil && (oldest == "" || h.Order < a.histories[oldest].Order) {
			oldest = name
		}
	}
	if oldest == "" {
		return fmt.Errorf("%w: %d containers", ErrTooMany, len(a.histories))
	}
	delete(a.histories, oldest)
	return nil
}

// roomForManifest bounds the size of a PodState. a.mu is held.
func (a *Agent) roomForManifest(growth int) error {
	total := growth + len(a.pod.GetManifest())
	for _, c := range a.containers {
		total += len(c.Manifest)
	}
	for _, v := range a.volumes {
		total += len(v.manifest)
	}
	if growth > 0 && total > maxManifests {
		return fmt.Errorf("%w: manifests of %d bytes, more than %d", ErrTooMany, total, maxManifests)
	}
	return nil
}

// launch prepares and starts a reserved container. On failure it tells whether
// nothing of it is left. Its record reaches the store before its process can do anything, so that
// no run goes uncounted.
func (a *Agent) launch(ctx context.Context, c *container, spec *agentpb.ContainerSpec, p *phases) (_ Process, clean bool, _ error) {
	recorded := make(chan error, 1)
	go func() { recorded <- a.save(ctx) }()
	err := a.rt.Prepare(ctx, c.ID, spec)
	prepared := err == nil
	p.done("prepare")
	err = errors.Join(err, <-recorded)
	p.done("record")
	var proc Process
	if err == nil {
		proc, err = a.start(ctx, c, p)
	}
	if err == nil || !prepared {
		return proc, true, err
	}
	cleaning, cancel := detached(ctx, cleanLimit)
	defer cancel()
	cleanErr := a.rt.Clean(cleaning, c.ID)
	return nil, cleanErr == nil, errors.Join(err, cleanErr)
}

// start runs the process, one container of the pod at a time.
func (a *Agent) start(ctx context.Context, c *container, p *phases) (Process, error) {
	if err := a.startSlot.acquire(ctx); err != nil {
		return nil, fmt.Errorf("await turn to start: %w", err)
	}
	defer a.startSlot.release()
	p.done("queue")
	defer p.done("start")
	return a.rt.Start(ctx, c.ID, writer{c.out, false}, writer{c.out, true})
}

// commit makes a started container a running one. Its postStart hook runs after that: who adds a
// container does not wait for it.
func (a *Agent) commit(c *container, proc Process, spec *agentpb.ContainerSpec) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.State = stateRunning
	c.StartedAt = time.Now()
	c.proc, c.pid = proc, proc.PID()
	c.before = nil
	c.care = newCare(spec)
	c.started = c.care.postStart == nil && c.care.startup == nil
	a.histories[c.Name].Starts = c.Restarts + 1
	a.changedState()
	a.saveSoon()
	a.touch()
	a.followExit(c)
	if c.care.attended() {
		quit := make(chan struct{})
		c.quit = quit
		a.background(func() { a.attend(c, quit) })
	}
	op := c.busy
	c.busy = nil
	op.finish(nil)
}

// abort releases the reservation.
func (a *Agent) abort(c *container, cause error) {
	a.outputs.drop(c.out)
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.before != nil {
		a.containers[c.Name] = c.before
	} else {
		delete(a.containers, c.Name)
		if h := a.histories[c.Name]; h.Starts == 0 {
			delete(a.histories, c.Name)
		}
	}
	close(c.ended)
	a.changedState()
	a.saveSoon()
	a.touch()
	c.busy.finish(cause)
}

// botch keeps a container that did not start but is not gone either.
func (a *Agent) botch(c *container, cause error) {
	a.outputs.finish(c.out)
	a.mu.Lock()
	defer a.mu.Unlock()
	c.botched(cause)
	c.before = nil
	a.histories[c.Name].Starts = c.Restarts + 1
	close(c.ended)
	a.changedState()
	a.saveSoon()
	a.touch()
	op := c.busy
	c.busy = nil
	op.finish(cause)
}

// followExit has the end of a container's process noted. a.mu is held.
func (a *Agent) followExit(c *container) {
	n, ok := c.proc.(ExitNotifier)
	if !ok {
		a.background(func() { a.awaitExit(c) })
		return
	}
	n.OnExit(func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.background(func() { a.awaitExit(c) })
	})
}

// awaitExit notes the end of a container's process.
func (a *Agent) awaitExit(c *container) {
	select {
	case <-c.proc.Done():
	case <-a.stop:
		return
	}
	a.mu.Lock()
	c.leave()
	a.mu.Unlock()
	tail := a.outputs.finish(c.out)
	message := a.lastWords(c, tail)
	a.mu.Lock()
	defer a.mu.Unlock()
	c.exited(c.proc.Exit())
	c.concluded(message)
	c.Tail = tail
	close(c.ended)
	a.changedState()
	a.saveSoon()
	a.touch()
}

// writer is one of a container's two streams.
type writer struct {
	out    *output
	stderr bool
}

var _ io.Writer = writer{}

// Write never fails.
func (w writer) Write(p []byte) (int, error) {
	w.out.write(p, w.stderr)
	return len(p), nil
}
