package reap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrEnded means that the process has ended.
var ErrEnded = errors.New("process has ended")

// Reaper starts processes and reaps every child of this process.
type Reaper struct {
	mu       sync.Mutex
	children map[int]*Child
	// holds counts adoptions under way; while there is one, the status of children
	// nobody knows yet is kept in strays.
	holds  int
	strays map[int]ended
}

type ended struct {
	status syscall.WaitStatus
	at     time.Time
}

// New makes a Reaper; nothing is reaped until Run. There is to be one per process.
func New() *Reaper {
	return &Reaper{children: map[int]*Child{}, strays: map[int]ended{}}
}

// Run reaps until ctx ends.
func (r *Reaper) Run(ctx context.Context) {
	// One slot is enough: a signal says that there may be something, not how much.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD)
	defer signal.Stop(signals)
	for {
		r.reap()
		select {
		case <-signals:
		case <-ctx.Done():
			return
		}
	}
}

// reap collects every child that has ended.
func (r *Reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		e := ended{status: syscall.WaitStatus(status), at: time.Now()}
		if c, ok := r.children[pid]; ok {
			delete(r.children, pid)
			c.end(e)
		} else if r.holds > 0 {
			r.strays[pid] = e
		}
	}
}

// Start starts a program; attr is os.StartProcess'.
func (r *Reaper) Start(path string, argv []string, attr *os.ProcAttr) (*Child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := os.StartProcess(path, argv, attr)
	if err != nil {
		return nil, fmt.Errorf("start process: %w", err)
	}
	pid := p.Pid
	if err := p.Release(); err != nil {
		return nil, fmt.Errorf("start process %s: %w", path, err)
	}
	return r.know(pid)
}

// Hold keeps the status of every child that ends until release is called, so that
// a process which another one starts for us can be adopted even after its end.
// Release may be called more than once.
func (r *Reaper) Hold() (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holds++
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.holds--; r.holds == 0 {
			clear(r.strays)
		}
	})
}

// Adopt makes a process that became our child since Hold a known one.
func (r *Reaper) Adopt(pid int) (*Child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.strays[pid]; ok {
		delete(r.strays, pid)
		c := &Child{pid: pid, pidfd: -1, done: make(chan struct{})}
		c.end(e)
		return c, nil
	}
	return r.know(pid)
}

// know registers a child that has not been reaped. r.mu is held, so pid cannot be
// another process by now.
func (r *Reaper) know(pid int) (*Child, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	c := &Child{pid: pid, pidfd: pidfd, done: make(chan struct{})}
	r.children[pid] = c
	return c, nil
}

// Child is one process.
type Child struct {
	pid  int
	done chan struct{}

	mu    sync.Mutex
	pidfd int // -1 once ended
	ended ended
}

// PID is its process id.
func (c *Child) PID() int { return c.pid }

// Done is closed once it has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Status says how and when it ended; valid once Done is closed.
func (c *Child) Status() (code int, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return exitCode(c.ended.status), c.ended.at
}

// exitCode is 128+n after signal n, as shells have it.
func exitCode(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

// Signal sends sig; ErrEnded when there is nobody to get it.
func (c *Child) Signal(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pidfd < 0 {
		return ErrEnded
	}
	err := unix.PidfdSendSignal(c.pidfd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return ErrEnded
	}
	if err != nil {
		return fmt.Errorf("signal process %d: %w", c.pid, err)
	}
	return nil
}

// Wait waits for its end; when ctx ends first the process is killed.
func (c *Child) Wait(ctx context.Context) (code int, err error) {
	select {
	case <-c.done:
		code, _ = c.Status()
		return code, nil
	case <-ctx.Done():
	}
	if err := c.Signal(unix.SIGKILL); err != nil && !errors.Is(err, ErrEnded) {
		return -1, errors.Join(context.Cause(ctx), err)
	}
	<-c.done
	code, _ = c.Status()
	return code, context.Cause(ctx)
}

func (c *Child) end(e ended) {
	c.mu.Lock()
	c.ended = e
	if c.pidfd >= 0 {
		_ = unix.Close(c.pidfd) // nothing can be lost by it
		c.pidfd = -1
	}
	c.mu.Unlock()
	close(c.done)
}
