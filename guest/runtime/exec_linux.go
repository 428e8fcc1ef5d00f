package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/ocispec"
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
	if err := writeJSON(processFile, ocispec.Exec(c.process, spec)); err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", id, err)
	}
	if !spec.GetStdin() {
		stdio.Stdin = nil
	}
	l := launch{
		container: c, dir: dir, command: []string{"exec", "--detach", "--process=" + processFile}, terminal: spec.GetTty(),
		rows: spec.GetRows(), columns: spec.GetColumns(), stdio: stdio,
	}
	if l.terminal {
		l.command = append(l.command, "--tty")
	}
	p, err := r.launch(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", id, err)
	}
	return p, nil
}

// launch is a process to be started by crun, with streams of its own.
type launch struct {
	container *container
	dir       string   // for crun's files
	command   []string // crun's, without the container's id
	// first: it is the container's first process, with which all others end.
	first    bool
	terminal bool
	// rows and columns are the terminal's size, 0 for what it has.
	rows, columns uint32
	stdio         agent.ExecIO
}

func (r *Runtime) launch(ctx context.Context, l launch) (*process, error) {
	if l.terminal {
		return r.launchTerminal(ctx, l)
	}
	return r.launchPlain(ctx, l)
}

func (r *Runtime) launchPlain(ctx context.Context, l launch) (*process, error) {
	var child *reap.Child
	before := l.container.cgroup.oomKills()
	start := func(files [3]*os.File) error {
		var err error
		child, err = r.invoke(ctx, l.dir, files, append(slices.Clone(l.command), l.container.id)...)
		return err
	}
	if l.stdio.Stdin == nil {
		streams, err := withPipes(l.stdio.Stdout, l.stdio.Stderr, start)
		if err != nil {
			return nil, err
		}
		return l.follow(child, before, streams).begin(), nil
	}
	end, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	streams, err := withInput(end, l.stdio.Stdout, l.stdio.Stderr, start)
	if err := errors.Join(err, end.Close()); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	p := l.follow(child, before, streams).begin()
	go feed(w, l.stdio.Stdin, p.done)
	return p, nil
}

// follow makes the process of what was launched.
func (l launch) follow(child *reap.Child, oomBefore int, streams []*stream) *process {
	if l.first {
		return newFirst(l.container, child, streams)
	}
	return newExec(child, l.container.cgroup, oomBefore, streams)
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

func (r *Runtime) launchTerminal(ctx context.Context, l launch) (*process, error) {
	before := l.container.cgroup.oomKills()
	child, terminal, err := r.invokeTerminal(ctx, l.dir, l.container.id, l.command...)
	if err != nil {
		return nil, err
	}
	if l.rows > 0 && l.columns > 0 {
		if err := setSize(terminal, l.rows, l.columns); err != nil {
			return nil, errors.Join(err, child.Signal(unix.SIGKILL), terminal.Close())
		}
	}
	p := l.follow(child, before, []*stream{newStream(terminal, l.stdio.Stdout)})
	p.terminal = terminal
	if l.stdio.Stdin != nil {
		go func() { _, _ = io.Copy(terminal, l.stdio.Stdin) }() // ends with the input; the stream closes the terminal
	}
	return p.begin(), nil
}
