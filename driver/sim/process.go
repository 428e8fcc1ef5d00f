package sim

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
)

// process is a simulated process.
type process struct {
	rt   *runtime
	c    *container
	pid  int
	main bool // a container's first
	// ctx ends when the process is interrupted; nil for an idle one, which does nothing else.
	ctx  context.Context
	stop context.CancelCauseFunc
	once sync.Once // an idle one ends once
	done chan struct{}
	exit agent.Exit // valid once done is closed

	mu     sync.Mutex
	traps  map[syscall.Signal]trap // nil until one is set
	ended  bool
	onExit []func()
}

// trap is what a process does on a signal: nothing, or to exit with a code.
type trap struct {
	exit bool
	code int
}

// interrupted is why a process' context ends: its exit code.
type interrupted int

func (i interrupted) Error() string { return fmt.Sprintf("interrupted with exit code %d", int(i)) }

func newProcess(rt *runtime, c *container, pid int) *process {
	return &process{rt: rt, c: c, pid: pid, done: make(chan struct{})}
}

// PID implements agent.Process.
func (p *process) PID() int { return p.pid }

// Signal implements agent.Process.
func (p *process) Signal(sig syscall.Signal) error {
	select {
	case <-p.done:
		return fmt.Errorf("process %d: %w", p.pid, agent.ErrNotFound)
	default:
	}
	switch sig {
	case syscall.SIGWINCH, syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGURG:
		return nil
	case syscall.SIGKILL:
		return p.Kill()
	}
	p.mu.Lock()
	t, trapped := p.traps[sig]
	p.mu.Unlock()
	switch {
	case trapped && t.exit:
		p.interrupt(t.code)
	case !trapped:
		p.interrupt(128 + int(sig))
	}
	return nil
}

// Kill implements agent.Process.
func (p *process) Kill() error {
	if p.main {
		p.rt.killAll(p.c)
	} else {
		p.interrupt(137)
	}
	return nil
}

// Done implements agent.Process.
func (p *process) Done() <-chan struct{} { return p.done }

// Exit implements agent.Process.
func (p *process) Exit() agent.Exit { return p.exit }

// Resize implements agent.ExecProcess: there is no terminal to resize.
func (p *process) Resize(uint32, uint32) error { return nil }

func (p *process) interrupt(code int) {
	if p.ctx != nil {
		p.stop(interrupted(code))
		return
	}
	p.once.Do(func() { go p.rt.over(p, code) })
}

func (p *process) end(code int) {
	p.exit = agent.Exit{Code: code, At: time.Now()}
	if p.stop != nil {
		p.stop(nil)
	}
	close(p.done)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for _, f := range p.onExit {
		go f()
	}
}

// OnExit implements agent.ExitNotifier.
func (p *process) OnExit(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		go f()
		return
	}
	p.onExit = append(p.onExit, f)
}

func (p *process) setTrap(sig syscall.Signal, t trap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.traps == nil {
		p.traps = make(map[syscall.Signal]trap)
	}
	p.traps[sig] = t
}
