package template

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/driver/unixsock"
)

// Bounds of the talk between processes of one host.
const (
	shareLimit = time.Second
	// loadLimit is how long another process may take to load what it will share.
	loadLimit = time.Second
	loadPoll  = 10 * time.Millisecond
)

// Memory gives out a file of the template that is RAM, as a sealed memory file: from a process
// that shares it, or else from disk, where its hash is checked; it is then shared with others
// until release is called, which is when the machine has ended.
func (t *Template) Memory(ctx context.Context, name string) (memory *os.File, release func(), err error) {
	if memory, release, err = t.shared(ctx, name); err != nil {
		return nil, nil, t.failed(err)
	}
	return memory, release, nil
}

func (t *Template) shared(ctx context.Context, name string) (memory *os.File, release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	for {
		if f, err := receive(ctx, t.path(socketFile), t.m.Files[name].Bytes); err == nil {
			return f, func() {}, nil
		}
		unlock, ok, err := tryLock(t.path(holderLock))
		switch {
		case err != nil:
			return nil, nil, err
		case ok:
			return t.hold(ctx, name, unlock)
		}
		select {
		case <-time.After(loadPoll):
		case <-ctx.Done():
			// Who has the lock does not answer: a copy of our own serves as well.
			f, err := load(context.WithoutCancel(ctx), t.path(name), t.m.Files[name])
			return f, func() {}, err
		}
	}
}

// hold loads the memory and serves it to others while the lock is held.
func (t *Template) hold(ctx context.Context, name string, unlock func()) (*os.File, func(), error) {
	memory, err := load(ctx, t.path(name), t.m.Files[name])
	if err != nil {
		unlock()
		return nil, nil, err
	}
	ours, err := unix.FcntlInt(memory.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unlock()
		return nil, nil, errors.Join(err, memory.Close())
	}
	given := os.NewFile(uintptr(ours), "template memory")
	l, err := unixsock.Listen(t.path(socketFile))
	if err != nil {
		unlock()
		return nil, nil, errors.Join(err, memory.Close(), given.Close())
	}
	var wg sync.WaitGroup
	wg.Go(func() { serve(l, given) })
	return memory, sync.OnceFunc(func() {
		_ = l.Close()
		wg.Wait()
		_ = given.Close()
		unlock()
	}), nil
}

// serve gives the memory to all who connect, until the listener is closed.
func serve(l net.Listener, memory *os.File) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(shareLimit)) // a peer that fails loads its own
		if c, ok := conn.(*net.UnixConn); ok {
			_, _, _ = c.WriteMsgUnix([]byte{1}, syscall.UnixRights(int(memory.Fd())), nil)
		}
		_ = conn.Close()
	}
}

var errNotSealed = errors.New("what was given is no sealed memory file of that size")

// receive asks the process that shares the memory for it.
func receive(ctx context.Context, socket string, size int64) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, shareLimit)
	defer cancel()
	conn, err := unixsock.Dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(shareLimit)); err != nil {
		return nil, err
	}
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("receive memory: not a unix socket")
	}
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return nil, fmt.Errorf("receive memory: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("receive memory: %d messages: %w", len(messages), errNotSealed)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("receive memory: %d files: %w", len(fds), errNotSealed)
	}
	unix.CloseOnExec(fds[0])
	f := os.NewFile(uintptr(fds[0]), "template memory")
	if !sealed(f, size) {
		return nil, errors.Join(fmt.Errorf("receive memory: %w", errNotSealed), f.Close())
	}
	return f, nil
}
