package runtime

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/runtime/reap"
)

// invokeTerminal is invoke for a process with a terminal, which it returns too. id is the
// container's.
func (r *Runtime) invokeTerminal(ctx context.Context, dir, id string, command ...string) (*reap.Child, *os.File, error) {
	// Not below the container's directory: a socket's path has at most 107 bytes.
	path := filepath.Join(consoleDir, rand.Text()+".sock")
	socket, err := listenConsole(path)
	if err != nil {
		return nil, nil, err
	}
	defer socket.close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = null.Close() }() // holds nothing
	child, err := r.invoke(ctx, dir, [3]*os.File{null, null, null}, append(command, "--console-socket="+path, id)...)
	if err != nil {
		return nil, nil, err
	}
	terminal, err := socket.take()
	if err != nil {
		return nil, nil, errors.Join(err, child.Signal(unix.SIGKILL))
	}
	return child, terminal, nil
}

// consoleSocket is where crun sends the terminal of a process to.
type consoleSocket struct {
	listener *net.UnixListener
	// terminals gets one, and is closed.
	terminals chan *os.File
	err       error // valid once terminals is closed
}

func listenConsole(path string) (*consoleSocket, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for terminal: %w", err)
	}
	// crun has sent it before it exits.
	if err := listener.SetDeadline(time.Now().Add(crunLimit)); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for terminal: %w", err), listener.Close())
	}
	s := &consoleSocket{listener: listener, terminals: make(chan *os.File, 1)}
	go s.receive()
	return s, nil
}

// take returns the terminal.
func (s *consoleSocket) take() (*os.File, error) {
	if f, ok := <-s.terminals; ok {
		return f, nil
	}
	return nil, s.err
}

// close removes the socket, and the terminal unless it was taken.
func (s *consoleSocket) close() {
	_ = s.listener.Close() // ends receive
	if f, ok := <-s.terminals; ok {
		_ = f.Close() // nobody wants it
	}
}

func (s *consoleSocket) receive() {
	defer close(s.terminals)
	f, err := receiveTerminal(s.listener)
	if err != nil {
		s.err = fmt.Errorf("receive terminal: %w", err)
		return
	}
	s.terminals <- f
}

func receiveTerminal(listener *net.UnixListener) (*os.File, error) {
	conn, err := listener.AcceptUnix()
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // all of use has been read
	if err := conn.SetDeadline(time.Now().Add(crunLimit)); err != nil {
		return nil, err
	}
	// The message is the terminal's name, with its descriptor beside it.
	name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(name, oob)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errors.New("no descriptor came"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(errors.New("no descriptor came"), err)
	}
	unix.CloseOnExec(fds[0])
	// Non-blocking, so that reads wait in the poller and Close ends them.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, errors.Join(err, unix.Close(fds[0]))
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

// setSize sets the size of a terminal.
func setSize(terminal *os.File, rows, columns uint32) error {
	conn, err := terminal.SyscallConn()
	if err != nil {
		return err
	}
	size := &unix.Winsize{Row: uint16(min(rows, 1<<16-1)), Col: uint16(min(columns, 1<<16-1))}
	var ioctlErr error
	err = conn.Control(func(fd uintptr) { ioctlErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
	return errors.Join(err, ioctlErr)
}
