package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime/reap"
)

// process is a container's first or a further process.
type process struct {
	child   *reap.Child
	cgroup  cgroup
	killer  func() error
	streams []*stream
	done    chan struct{}
	exit    agent.Exit

	// first: it is a container's first process, with which all others of it end.
	first bool
	// oomBefore is the count of OOM kills in the cgroup before it was started.
	oomBefore int
	// input is the other end of an input that is held open; nil: there is none.
	input *os.File
	// terminal is that of a further process; nil: it has none.
	terminal *os.File
}

// Start implements agent.Runtime.
func (r *Runtime) Start(ctx context.Context, id string, stdout, stderr io.Writer) (agent.Process, error) {
	c, err := r.preparedContainer(id)
	if err != nil {
		return nil, fmt.Errorf("start container: %w", err)
	}
	start := r.startPlain
	if c.process.Terminal {
		start = r.startTerminal
	}
	p, err := start(ctx, c, stdout, stderr)
	if err != nil {
		// As prepared means that nothing runs and crun knows nothing.
		return nil, errors.Join(fmt.Errorf("start container %s: %w", id, err), r.forget(context.WithoutCancel(ctx), id))
	}
	if err := r.filters.keep(c.filter, id); err != nil {
		r.log.Error(err, "the next start takes longer", "container", id)
	}
	return p, nil
}

func (r *Runtime) startPlain(ctx context.Context, c *container, stdout, stderr io.Writer) (*process, error) {
	var child *reap.Child
	start := func(stdio [3]*os.File) error {
		var err error
		child, err = r.invoke(ctx, c.dir, stdio, "run", "--detach", "--bundle="+c.dir, c.id)
		return err
	}
	if !c.stdin {
		streams, err := withPipes(stdout, stderr, start)
		if err != nil {
			return nil, err
		}
		return newFirst(c, child, streams).begin(), nil
	}
	// An input that stays open: nobody writes to it, and it ends with the process.
	input, open, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	streams, err := withInput(input, stdout, stderr, start)
	if err := errors.Join(err, input.Close()); err != nil {
		return nil, errors.Join(err, open.Close())
	}
	p := newFirst(c, child, streams)
	p.input = open
	return p.begin(), nil
}

// startTerminal runs a container whose first process has a terminal: all of its output is
// on stdout.
func (r *Runtime) startTerminal(ctx context.Context, c *container, stdout, _ io.Writer) (*process, error) {
	child, terminal, err := r.invokeTerminal(ctx, c.dir, c.id, "run", "--detach", "--bundle="+c.dir)
	if err != nil {
		return nil, err
	}
	return newFirst(c, child, []*stream{newStream(terminal, stdout)}).begin(), nil
}

func newFirst(c *container, child *reap.Child, streams []*stream) *process {
	return &process{child: child, cgroup: c.cgroup, killer: c.cgroup.kill, streams: streams, first: true}
}

// withPipes runs start with a process' standard streams: an empty input, and pipes
// whose other ends go to the writers until the process ends.
func withPipes(stdout, stderr io.Writer, start func(stdio [3]*os.File) error) ([]*stream, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }() // holds nothing
	return withInput(null, stdout, stderr, start)
}

// withInput is withPipes with an input of its own.
func withInput(stdin *os.File, stdout, stderr io.Writer, start func(stdio [3]*os.File) error) ([]*stream, error) {
	out, outEnd, err := newPipe(stdout)
	if err != nil {
		return nil, err
	}
	errs, errEnd, err := newPipe(stderr)
	if err != nil {
		return nil, errors.Join(err, out.from.Close(), outEnd.Close())
	}
	err = start([3]*os.File{stdin, outEnd, errEnd})
	// The process has its own copies.
	if err := errors.Join(err, outEnd.Close(), errEnd.Close()); err != nil {
		return nil, errors.Join(err, out.from.Close(), errs.from.Close())
	}
	return []*stream{out, errs}, nil
}

// begin follows a process that runs, to its end.
func (p *process) begin() *process {
	p.done = make(chan struct{})
	for _, s := range p.streams {
		go s.copy()
	}
	go p.follow()
	return p
}

// follow ends with the process.
func (p *process) follow() {
	defer close(p.done)
	<-p.child.Done()
	p.exit.Code, p.exit.At = p.child.Status()
	p.exit.OOMKilled = p.exit.Code == 128+int(unix.SIGKILL) && p.cgroup.oomKills() > p.oomBefore
	if p.first {
		// Where the container shares its process namespace, nothing else ends the others.
		// What fails here is done again, and told of, when the container is cleaned.
		_ = p.cgroup.kill()
	}
	if p.input != nil {
		_ = p.input.Close() // nothing was written to it
	}
	for _, s := range p.streams {
		s.finish()
	}
	for _, s := range p.streams {
		<-s.done
	}
}

// PID implements agent.Process.
func (p *process) PID() int { return p.child.PID() }

// Signal implements agent.Process.
func (p *process) Signal(sig syscall.Signal) error {
	err := p.child.Signal(sig)
	if errors.Is(err, reap.ErrEnded) {
		return fmt.Errorf("process %d: %w", p.child.PID(), agent.ErrNotFound)
	}
	return err
}

// Kill implements agent.Process.
func (p *process) Kill() error { return p.killer() }

// Done implements agent.Process.
func (p *process) Done() <-chan struct{} { return p.done }

// Exit implements agent.Process.
func (p *process) Exit() agent.Exit { return p.exit }

// Resize implements agent.ExecProcess. Without a terminal it does nothing.
func (p *process) Resize(rows, columns uint32) error {
	if p.terminal == nil {
		return nil
	}
	if err := setSize(p.terminal, rows, columns); err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	return nil
}
