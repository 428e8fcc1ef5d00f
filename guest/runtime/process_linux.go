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
	child  *reap.Child
	cgroup cgroup
	killer func() error
	done   chan struct{}
	exit   agent.Exit

	// Of processes with a terminal only.
	terminal *os.File
}

// Start implements agent.Runtime.
func (r *Runtime) Start(ctx context.Context, id string, stdout, stderr io.Writer) (agent.Process, error) {
	c, err := r.preparedContainer(id)
	if err != nil {
		return nil, fmt.Errorf("start container: %w", err)
	}
	var child *reap.Child
	streams, err := withPipes(stdout, stderr, func(stdio [3]*os.File) error {
		var err error
		child, err = r.invoke(ctx, c.dir, stdio, "run", "--bundle="+c.dir, id)
		return err
	})
	if err != nil {
		// As prepared means that nothing runs and crun knows nothing.
		return nil, errors.Join(fmt.Errorf("start container %s: %w", id, err), r.forget(context.WithoutCancel(ctx), id))
	}
	group := cgroupOf(id)
	return newProcess(child, group, group.kill, 0, streams), nil
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

// newProcess follows a process that runs. oomBefore is the count of OOM kills in
// its cgroup before it was started.
func newProcess(child *reap.Child, group cgroup, killer func() error, oomBefore int, streams []*stream) *process {
	p := &process{child: child, cgroup: group, killer: killer, done: make(chan struct{})}
	for _, s := range streams {
		go s.copy()
	}
	go p.follow(oomBefore, streams)
	return p
}

// follow ends with the process.
func (p *process) follow(oomBefore int, streams []*stream) {
	defer close(p.done)
	<-p.child.Done()
	p.exit.Code, p.exit.At = p.child.Status()
	p.exit.OOMKilled = p.exit.Code == 128+int(unix.SIGKILL) && p.cgroup.oomKills() > oomBefore
	for _, s := range streams {
		s.finish()
	}
	for _, s := range streams {
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
