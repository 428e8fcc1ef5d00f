package world

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/sim"
)

var (
	errDead   = errors.New("this reconciler was killed")
	errListed = errors.New("the machines' directory cannot be read")
	// errRefused is of a machine whose holder cannot be reached.
	errRefused = errors.New("its holder does not answer")
)

// gate is one reconciler's way to the host: what goes wrong goes wrong here, and when the
// reconciler is killed nothing more gets through. A call under way then is either cut off
// or comes to its end without it, as with a process that had sent a request.
type gate struct {
	h     *host
	inner driver.Driver
	// emptyList is a bug: a list that cannot be had is said to be empty.
	emptyList bool

	dead chan struct{}   // closed when it is killed
	life context.Context // ends when calls under way are cut off
	cut  context.CancelFunc
	wg   sync.WaitGroup
}

var _ driver.Driver = (*gate)(nil)

func newGate(h *host, emptyList bool) *gate {
	g := &gate{h: h, emptyList: emptyList, inner: sim.NewDriver(h.world), dead: make(chan struct{})}
	g.life, g.cut = context.WithCancel(context.Background())
	return g
}

// kill closes the gate.
func (g *gate) kill(cut bool) {
	close(g.dead)
	if cut {
		g.cut()
	}
}

// end waits for what is under way.
func (g *gate) end() error {
	g.cut()
	g.wg.Wait()
	return g.inner.Close()
}

func (g *gate) killed() bool {
	select {
	case <-g.dead:
		return true
	default:
		return false
	}
}

// call lets a call through.
func (g *gate) call(ctx context.Context, id, op string, f func(ctx context.Context) error) error {
	_, err := ask(ctx, g, id, op, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}

// ask lets a call through that returns a value. A call that outlives its caller keeps what
// it returns to itself.
func ask[T any](ctx context.Context, g *gate, id, op string, f func(ctx context.Context) (T, error)) (T, error) {
	var none T
	if g.killed() {
		return none, errDead
	}
	if err := ctx.Err(); err != nil {
		return none, context.Cause(ctx)
	}
	if op == "Info" || op == "Describe" {
		return through(ctx, g, id, op, f) // ends with its process, and changes nothing
	}
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	timed, done := work, func() {}
	if deadline, ok := ctx.Deadline(); ok {
		timed, done = context.WithDeadline(work, deadline)
	}
	stop := context.AfterFunc(ctx, func() {
		if !g.killed() {
			cancel(context.Cause(ctx))
		}
	})
	unlink := context.AfterFunc(g.life, func() { cancel(errDead) })
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	g.wg.Go(func() {
		defer func() { stop(); unlink(); done(); cancel(nil) }()
		value, err := through(timed, g, id, op, f)
		results <- result{value, err}
	})
	select {
	case r := <-results:
		return r.value, r.err
	case <-g.dead:
		return none, errDead
	}
}

func through[T any](ctx context.Context, g *gate, id, op string, f func(ctx context.Context) (T, error)) (T, error) {
	var none T
	if g.h.how(id) == stuck {
		if err := g.h.until(ctx, func() bool { return g.h.silent[id] != stuck }); err != nil {
			return none, fmt.Errorf("%w: %w", driver.ErrUnreachable, err)
		}
	}
	if err := g.h.meet(ctx, op, false); err != nil {
		return none, err
	}
	if g.killed() && byItself(op) {
		return none, errDead
	}
	value, err := f(ctx)
	if err != nil {
		return none, err
	}
	return value, g.h.meet(ctx, op, true)
}

// byItself tells whether the reconciler does an operation itself, and sends no request: one
// that it had not begun when it was killed is not begun.
func byItself(op string) bool {
	switch op {
	case "Create", "Start", "Delete", "Machines":
		return true
	}
	return false
}

func (g *gate) Create(ctx context.Context, spec driver.Spec) (driver.Machine, error) {
	pod := strings.TrimPrefix(spec.Name, "default/")
	m, err := ask(ctx, g, spec.ID, "Create", func(ctx context.Context) (*gateMachine, error) {
		g.h.alone(ctx, spec.ID, pod)
		g.h.mu.Lock()
		g.h.names[spec.ID] = pod
		g.h.mu.Unlock()
		made, err := g.inner.Create(ctx, spec)
		return &gateMachine{Machine: made, g: g, pod: pod}, err
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (g *gate) Machines(ctx context.Context) ([]driver.Machine, error) {
	list, err := ask(ctx, g, "", "Machines", func(ctx context.Context) ([]driver.Machine, error) {
		g.h.mu.Lock()
		listing := g.h.listing
		g.h.mu.Unlock()
		switch listing {
		case listFails:
			if g.emptyList {
				return nil, nil
			}
			return nil, errListed
		case listHangs:
			if err := g.h.until(ctx, func() bool { return g.h.listing != listHangs }); err != nil {
				return nil, err
			}
		}
		all, err := g.inner.Machines(ctx)
		for i, m := range all {
			g.h.mu.Lock()
			pod := g.h.names[m.ID()]
			g.h.mu.Unlock()
			all[i] = &gateMachine{Machine: m, g: g, pod: pod}
		}
		return all, err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (g *gate) Close() error { return nil }

// gateMachine is a machine behind a gate.
type gateMachine struct {
	driver.Machine
	g   *gate
	pod string
}

func (m *gateMachine) call(ctx context.Context, op string, f func(ctx context.Context) error) error {
	return m.g.call(ctx, m.ID(), op, f)
}

func (m *gateMachine) Info(ctx context.Context) (driver.Info, error) {
	if m.g.killed() {
		return driver.Info{}, errDead
	}
	silence := m.call(ctx, "Info", func(context.Context) error { return nil })
	info, err := m.Machine.Info(context.WithoutCancel(ctx))
	if err != nil || info.State == driver.StateStopped {
		return info, err
	}
	// Whoever does not answer is still known by what was written down of it.
	if m.g.h.how(m.ID()) == refusing {
		silence = errRefused
	}
	if silence != nil {
		info.State, info.Message = driver.StateUnknown, silence.Error()
	}
	return info, nil
}

func (m *gateMachine) AttachDisk(ctx context.Context, d driver.Disk) error {
	return m.call(ctx, "AttachDisk", func(ctx context.Context) error { return m.Machine.AttachDisk(ctx, d) })
}

func (m *gateMachine) DetachDisk(ctx context.Context, id string) error {
	return m.call(ctx, "DetachDisk", func(ctx context.Context) error { return m.Machine.DetachDisk(ctx, id) })
}

func (m *gateMachine) Start(ctx context.Context) error {
	return m.call(ctx, "Start", func(ctx context.Context) error {
		m.g.h.alone(ctx, m.ID(), m.pod)
		return m.Machine.Start(ctx)
	})
}

func (m *gateMachine) Stop(ctx context.Context) error {
	return m.call(ctx, "Stop", func(ctx context.Context) error {
		if how := m.g.h.how(m.ID()); how != "" {
			// Its agent will not end it in order, so that it is ended by force in the end.
			_ = m.g.h.until(ctx, func() bool { return m.g.h.silent[m.ID()] == "" })
		}
		return m.Machine.Stop(ctx)
	})
}

func (m *gateMachine) Delete(ctx context.Context) error {
	return m.call(ctx, "Delete", m.Machine.Delete)
}

func (m *gateMachine) Agent() grpc.ClientConnInterface { return &gateAgent{m} }

// gateAgent is an agent behind a gate.
type gateAgent struct{ m *gateMachine }

// answers waits until the agent can be heard.
func (a *gateAgent) answers(ctx context.Context) error {
	h, id := a.m.g.h, a.m.ID()
	if h.how(id) == refusing {
		return status.Error(codes.Unavailable, "connection refused")
	}
	if err := h.until(ctx, func() bool { return h.silent[id] == "" || h.silent[id] == refusing }); err != nil {
		return status.FromContextError(err).Err()
	}
	return nil
}

func (a *gateAgent) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	err := a.m.call(ctx, path.Base(method), func(ctx context.Context) error {
		if err := a.answers(ctx); err != nil {
			return err
		}
		if err := a.m.Machine.Agent().Invoke(ctx, method, args, reply, opts...); err != nil {
			return err
		}
		return a.answers(ctx)
	})
	return asStatus(ctx, err)
}

// asStatus is an error as gRPC has them.
func asStatus(ctx context.Context, err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	return status.Error(codes.Unavailable, err.Error())
}

func (a *gateAgent) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if a.m.g.killed() {
		return nil, status.Error(codes.Unavailable, errDead.Error())
	}
	ctx, cancel := context.WithCancel(ctx)
	h, id := a.m.g.h, a.m.ID()
	h.mu.Lock()
	if h.streams[id] == nil {
		h.streams[id] = make(map[*context.CancelFunc]bool)
	}
	h.streams[id][&cancel] = true
	h.mu.Unlock()
	unlink := context.AfterFunc(a.m.g.life, cancel)
	context.AfterFunc(ctx, func() {
		unlink()
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.streams[id], &cancel)
	})
	if err := a.answers(ctx); err != nil {
		cancel()
		return nil, err
	}
	s, err := a.m.Machine.Agent().NewStream(ctx, desc, method, opts...)
	if err != nil {
		cancel()
		return nil, err
	}
	return &gateStream{ClientStream: s, a: a, cancel: cancel}, nil
}

// gateStream is a stream that says nothing while its agent does not.
type gateStream struct {
	grpc.ClientStream
	a      *gateAgent
	cancel context.CancelFunc
}

func (s *gateStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		err = s.a.answers(s.Context())
	}
	if err != nil {
		s.cancel()
	}
	return err
}
