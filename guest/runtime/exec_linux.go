package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime/reap"
)

// Exec implements agent.Runtime.
func (r *Runtime) Exec(ctx context.Context, id string, spec *agentpb.ExecRequest_Start, stdio agent.ExecIO) (agent.ExecProcess, error) {
	c, err := r.preparedContainer(id)
	if err != nil {
		return nil, fmt.Errorf("exec: %w", err)
	}
	dir, err := os.MkdirTemp(c.dir, "exec-")
	if err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", id, err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // goes with the container at the latest
	processFile := filepath.Join(dir, "process.json")
	if err := writeJSON(processFile, buildExec(c.process, spec)); err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", id, err)
	}
	start := r.execPlain
	if spec.GetTty() {
		start = r.execTerminal
	}
	p, err := start(ctx, c, dir, processFile, spec, stdio)
	if err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", id, err)
	}
	return p, nil
}

func (r *Runtime) execPlain(ctx context.Context, c *container, dir, processFile string,
	spec *agentpb.ExecRequest_Start, stdio agent.ExecIO,
) (*process, error) {
	var child *reap.Child
	group := c.cgroup
	before := group.oomKills()
	start := func(files [3]*os.File) error {
		var err error
		child, err = r.invoke(ctx, dir, files, "exec", "--detach", "--process="+processFile, c.id)
		return err
	}
	var streams []*stream
	var err error
	if stdio.Stdin == nil || !spec.GetStdin() {
		streams, err = withPipes(stdio.Stdout, stdio.Stderr, start)
		if err != nil {
			return nil, err
		}
		return newExec(child, group, before, streams).begin(), nil
	}
	end, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	streams, err = withInput(end, stdio.Stdout, stdio.Stderr, start)
	if err := errors.Join(err, end.Close()); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	p := newExec(child, group, before, streams).begin()
	go feed(w, stdio.Stdin, p.done)
	return p, nil
}

// newExec follows a further process; killing it leaves the container alone.
func newExec(child *reap.Child, group cgroup, oomBefore int, streams []*stream) *process {
	kill := func() error {
		if err := child.Signal(unix.SIGKILL); err != nil && !errors.Is(err, reap.ErrEnded) {
			return err
		}
		return nil
	}
	return &process{child: child, cgroup: group, killer: kill, oomBefore: oomBefore, streams: streams}
}

// feed copies a process' input to it, and closes it at the end of the input or of
// the process. It returns once the input has ended.
func feed(w *os.File, input io.Reader, done <-chan struct{}) {
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-done:
			_ = w.Close() // ends a write that nobody reads
		case <-stop:
		}
	}()
	_, _ = io.Copy(w, input) // a process need not read its input
	_ = w.Close()
}

func (r *Runtime) execTerminal(ctx context.Context, c *container, dir, processFile string,
	spec *agentpb.ExecRequest_Start, stdio agent.ExecIO,
) (*process, error) {
	before := c.cgroup.oomKills()
	child, terminal, err := r.invokeTerminal(ctx, dir, c.id, "exec", "--detach", "--process="+processFile, "--tty")
	if err != nil {
		return nil, err
	}
	if spec.GetRows() > 0 && spec.GetColumns() > 0 {
		if err := setSize(terminal, spec.GetRows(), spec.GetColumns()); err != nil {
			return nil, errors.Join(err, child.Signal(unix.SIGKILL), terminal.Close())
		}
	}
	p := newExec(child, c.cgroup, before, []*stream{newStream(terminal, stdio.Stdout)})
	p.terminal = terminal
	if stdio.Stdin != nil && spec.GetStdin() {
		go func() { _, _ = io.Copy(terminal, stdio.Stdin) }() // ends with the input; the stream closes the terminal
	}
	return p.begin(), nil
}
