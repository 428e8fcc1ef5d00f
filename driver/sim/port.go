package sim

import (
	"context"
	"io"
	"net"
	"sync"
)

// port is the guest's end of a byte link, like a virtio-serial port: hosts connect
// to it one after the other; what is written while none is there is lost.
type port struct {
	mu      sync.Mutex
	conn    net.Conn // nil: no host
	changed chan struct{}
	closed  bool
}

func newPort() *port { return &port{changed: make(chan struct{})} }

// connect returns a host's end; the host before it is cut off.
func (p *port) connect(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	host, guest := net.Pipe()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, io.ErrClosedPipe
	}
	p.replace(guest)
	return host, nil
}

// replace sets the connection and wakes who waits for one. p.mu is held.
func (p *port) replace(conn net.Conn) {
	if p.conn != nil {
		_ = p.conn.Close()
	}
	p.conn = conn
	close(p.changed)
	p.changed = make(chan struct{})
}

// drop cuts a host off.
func (p *port) drop(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == conn && conn != nil {
		p.replace(nil)
	}
}

// Read implements io.Reader: it waits for a host.
func (p *port) Read(b []byte) (int, error) {
	for {
		p.mu.Lock()
		conn, changed, closed := p.conn, p.changed, p.closed
		p.mu.Unlock()
		if closed {
			return 0, io.ErrClosedPipe
		}
		if conn == nil {
			<-changed
			continue
		}
		n, err := conn.Read(b)
		if n > 0 || err == nil {
			return n, nil
		}
		p.drop(conn)
	}
}

// Write implements io.Writer.
func (p *port) Write(b []byte) (int, error) {
	p.mu.Lock()
	conn, closed := p.conn, p.closed
	p.mu.Unlock()
	if closed {
		return 0, io.ErrClosedPipe
	}
	if conn != nil {
		if _, err := conn.Write(b); err != nil {
			p.drop(conn)
		}
	}
	return len(b), nil
}

// Close implements io.Closer.
func (p *port) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		p.replace(nil)
	}
	return nil
}
