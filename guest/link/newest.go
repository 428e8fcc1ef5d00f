package link

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// acceptRetry is how long Newest waits after a connection that could not be accepted.
const acceptRetry = 100 * time.Millisecond

// Newest is the byte stream of a Guest whose hosts come as connections: it is the newest of
// them. One that comes ends the one before, since the host has one session at a time and
// asks for another connection only when it has given up the last.
//
// Read and Write may be called at the same time, each by one goroutine at a time.
type Newest struct {
	listener net.Listener
	accepted sync.WaitGroup

	mu       sync.Mutex
	changed  *sync.Cond
	current  net.Conn // that Read is at; Write must not run ahead of it
	next     net.Conn
	deadline time.Time
	closed   bool
	done     chan struct{} // closed with closed
}

// NewNewest begins to take connections, until Close. It owns the listener.
func NewNewest(l net.Listener) *Newest {
	n := &Newest{listener: l, done: make(chan struct{})}
	n.changed = sync.NewCond(&n.mu)
	n.accepted.Go(n.accept)
	return n
}

func (n *Newest) accept() {
	for {
		conn, err := n.listener.Accept()
		switch {
		case err == nil:
			n.offer(conn)
			continue
		case errors.Is(err, net.ErrClosed):
			return
		}
		select {
		case <-n.done:
			return
		case <-time.After(acceptRetry):
		}
	}
}

// offer makes conn the one that is read from once Read has seen the end of the one before.
func (n *Newest) offer(conn net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		_ = conn.Close()
		return
	}
	n.hangUp()
	n.next = conn
	n.changed.Broadcast()
}

// hangUp ends the connections there are; mu is held.
func (n *Newest) hangUp() {
	for _, conn := range []net.Conn{n.current, n.next} {
		if conn != nil {
			_ = conn.Close() // its other end has given it up
		}
	}
}

// Read implements io.Reader. It waits while there is no connection, and gives io.EOF at the
// end of each.
func (n *Newest) Read(p []byte) (int, error) {
	conn, err := n.await()
	if err != nil {
		return 0, err
	}
	got, err := conn.Read(p)
	if got > 0 || err == nil {
		return got, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return 0, fmt.Errorf("read newest connection: %w", net.ErrClosed)
	}
	_ = conn.Close() // whatever ended it, nothing more comes
	n.current = nil
	return 0, io.EOF
}

// await returns the connection to read from.
func (n *Newest) await() (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.current == nil {
		if n.closed {
			return nil, fmt.Errorf("read newest connection: %w", net.ErrClosed)
		}
		if n.next != nil {
			n.current, n.next = n.next, nil
			break
		}
		n.changed.Wait()
	}
	return n.current, nil
}

// errNoHost: there is no connection to write to.
var errNoHost = errors.New("no host is connected")

// Write implements io.Writer: to the connection that Read is at.
func (n *Newest) Write(p []byte) (int, error) {
	n.mu.Lock()
	conn, deadline := n.current, n.deadline
	n.mu.Unlock()
	if conn == nil {
		return 0, errNoHost
	}
	if err := conn.SetWriteDeadline(deadline); err != nil {
		return 0, err
	}
	return conn.Write(p)
}

// SetWriteDeadline bounds the writes that begin from now on, whatever connection they go to.
func (n *Newest) SetWriteDeadline(t time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deadline = t
	return nil
}

// Close ends the connections and takes no more; what is read or written fails.
func (n *Newest) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	close(n.done)
	n.hangUp()
	n.changed.Broadcast()
	n.mu.Unlock()
	err := n.listener.Close()
	n.accepted.Wait()
	if err != nil {
		return fmt.Errorf("close newest connection: %w", err)
	}
	return nil
}
