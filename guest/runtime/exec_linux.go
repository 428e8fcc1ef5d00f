package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

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
	group := cgroupOf(c.id)
	before := group.oomKills()
	start := func(files [3]*os.File) error {
		var err error
		child, err = r.invoke(ctx, dir, files, "exec", "--process="+processFile, c.id)
		return err
	}
	var streams []*stream
	var err error
	if stdio.Stdin == nil || !spec.GetStdin() {
		streams, err = withPipes(stdio.Stdout, stdio.Stderr, start)
		if err != nil {
			return nil, err
		}
		return newExec(child, group, before, streams), nil
	}
	end, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	streams, err = withInput(end, stdio.Stdout, stdio.Stderr, start)
	if err := errors.Join(err, end.Close()); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	p := newExec(child, group, before, streams)
	go feed(w, stdio.Stdin, p.done)
	return p, nil
}

func newExec(child *reap.Child, group cgroup, oomBefore int, streams []*stream) *process {
	kill := func() error {
		if err := child.Signal(unix.SIGKILL); err != nil && !errors.Is(err, reap.ErrEnded) {
			return err
		}
		return nil
	}
	return newProcess(child, group, kill, oomBefore, streams)
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

// terminalWait bounds the wait for the terminal crun sends.
const terminalWait = 10 * time.Second

func (r *Runtime) execTerminal(ctx context.Context, c *container, dir, processFile string,
	spec *agentpb.ExecRequest_Start, stdio agent.ExecIO,
) (*process, error) {
	// Not below the container's directory: a socket's path has at most 107 bytes.
	path := filepath.Join(consoleDir, filepath.Base(dir)+".sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = listener.Close() }() // also removes it
	if err := listener.SetDeadline(time.Now().Add(crunLimit + terminalWait)); err != nil {
		return nil, err
	}
	type received struct {
		file *os.File
		err  error
	}
	terminal := make(chan received, 1)
	go func() {
		f, err := receiveTerminal(listener)
		terminal <- received{f, err}
	}()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }() // holds nothing
	group := cgroupOf(c.id)
	before := group.oomKills()
	child, err := r.invoke(ctx, dir, [3]*os.File{null, null, null},
		"exec", "--process="+processFile, "--tty", "--console-socket="+path, c.id)
	if err != nil {
		_ = listener.Close() // nobody comes any more
		if got := <-terminal; got.file != nil {
			err = errors.Join(err, got.file.Close())
		}
		return nil, err
	}
	got := <-terminal
	if got.err != nil {
		return nil, errors.Join(got.err, child.Signal(unix.SIGKILL))
	}
	if spec.GetRows() > 0 && spec.GetColumns() > 0 {
		if err := setSize(got.file, spec.GetRows(), spec.GetColumns()); err != nil {
			return nil, errors.Join(err, child.Signal(unix.SIGKILL), got.file.Close())
		}
	}
	p := newExec(child, group, before, []*stream{newStream(got.file, stdio.Stdout)})
	p.terminal = got.file
	if stdio.Stdin != nil && spec.GetStdin() {
		go func() { _, _ = io.Copy(got.file, stdio.Stdin) }() // ends with the input; the stream closes the terminal
	}
	return p, nil
}

// receiveTerminal takes the terminal that crun sends over its console socket.
func receiveTerminal(listener *net.UnixListener) (*os.File, error) {
	conn, err := listener.AcceptUnix()
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	defer func() { _ = conn.Close() }() // all of use has been read
	if err := conn.SetDeadline(time.Now().Add(terminalWait)); err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(name, oob)
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errors.New("receive terminal: no descriptor came"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(errors.New("receive terminal: no descriptor came"), err)
	}
	unix.CloseOnExec(fds[0])
	// Non-blocking, so that reads wait in the poller and Close ends them.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, errors.Join(fmt.Errorf("receive terminal: %w", err), unix.Close(fds[0]))
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

func setSize(terminal *os.File, rows, columns uint32) error {
	conn, err := terminal.SyscallConn()
	if err != nil {
		return err
	}
	size := &unix.Winsize{Row: uint16(min(rows, 1<<16-1)), Col: uint16(min(columns, 1<<16-1))}
	var ioctlErr error
	if err := conn.Control(func(fd uintptr) { ioctlErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) }); err != nil {
		return err
	}
	return ioctlErr
}
