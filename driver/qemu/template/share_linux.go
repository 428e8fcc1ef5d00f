package template

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
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

// shared returns the RAM of the template in dir as another process has it, or loads it
// and shares it from then on, until release is called.
func shared(ctx context.Context, dir string, m meta) (memory *os.File, release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	for {
		if f, err := receive(ctx, filepath.Join(dir, socketFile), m.MemoryBytes); err == nil {
			return f, func() {}, nil
		}
		lock, err := tryLock(filepath.Join(dir, holderLock))
		switch {
		case err == nil:
			return hold(ctx, dir, m, lock)
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, nil, err
		}
		select {
		case <-time.After(loadPoll):
		case <-ctx.Done():
			// Who has the lock does not answer: a copy of our own serves as well.
			f, err := load(context.WithoutCancel(ctx), filepath.Join(dir, memoryFile), m)
			return f, func() {}, err
		}
	}
}

// hold loads the memory and serves it to others while the lock is held.
func hold(ctx context.Context, dir string, m meta, lock *os.File) (*os.File, func(), error) {
	memory, err := load(ctx, filepath.Join(dir, memoryFile), m)
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	ours, err := unix.FcntlInt(memory.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, errors.Join(err, memory.Close(), lock.Close())
	}
	given := os.NewFile(uintptr(ours), "template memory")
	l, err := unixsock.Listen(filepath.Join(dir, socketFile))
	if err != nil {
		return nil, nil, errors.Join(err, memory.Close(), given.Close(), lock.Close())
	}
	var wg sync.WaitGroup
	wg.Go(func() { serve(l, given) })
	return memory, sync.OnceFunc(func() {
		_ = l.Close()
		wg.Wait()
		_ = given.Close()
		_ = lock.Close()
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

// tryLock takes a lock that ends with this process, or says EWOULDBLOCK.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// TryMake takes the right to make the template of that key; false while another process
// has it. done gives it back.
func (s *Store) TryMake(key string) (done func(), ok bool, err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, false, fmt.Errorf("make template %s: %w", key, err)
	}
	lock, err := tryLock(filepath.Join(s.dir, "."+key+".lock"))
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("make template %s: %w", key, err)
	}
	return func() { _ = lock.Close() }, true, nil
}
