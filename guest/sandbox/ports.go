package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// linkWait bounds the wait for the host to open a stream.
const linkWait = 30 * time.Second

var errPortTaken = errors.New("port is in use")

// Ports connect the guest with ports of the host.
type Ports interface {
	// Dial connects with what the host has on port.
	Dial(ctx context.Context, port uint32) (net.Conn, error)
	// Listen takes connections of the host, and of nobody else, to port.
	Listen(port uint32) (net.Listener, error)
}

// LinkPorts are ports over a link, whose streams the host alone opens: Dial waits for the host
// to open one to the port, which is refused to it before that.
type LinkPorts struct {
	listen   func(port uint32) net.Listener
	reserved map[uint32]bool

	mu    sync.Mutex
	ports map[uint32]*linkPort
}

var _ Ports = (*LinkPorts)(nil)

// linkPort is a port on which the guest waits.
type linkPort struct {
	listener net.Listener
	conns    chan net.Conn
	gone     chan struct{} // closed when nothing is accepted any more
	dialers  int
}

// NewLinkPorts makes Ports of a link's Listen. The reserved ports have listeners already.
func NewLinkPorts(listen func(port uint32) net.Listener, reserved ...uint32) *LinkPorts {
	p := &LinkPorts{listen: listen, reserved: map[uint32]bool{}, ports: map[uint32]*linkPort{}}
	for _, port := range reserved {
		p.reserved[port] = true
	}
	return p
}

// Dial implements Ports. Several at once on one port get one stream each.
func (p *LinkPorts) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	l, err := p.acquire(port)
	if err != nil {
		return nil, err
	}
	defer p.release(port, l)
	ctx, cancel := context.WithTimeoutCause(ctx, linkWait,
		fmt.Errorf("%w: the host opened no stream within %v", context.DeadlineExceeded, linkWait))
	defer cancel()
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.gone:
		return nil, fmt.Errorf("wait for a stream to port %d: %w", port, net.ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a stream to port %d: %w", port, context.Cause(ctx))
	}
}

// Listen implements Ports.
func (p *LinkPorts) Listen(port uint32) (net.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reserved[port] || p.ports[port] != nil {
		return nil, fmt.Errorf("listen on port %d: %w", port, errPortTaken)
	}
	p.reserved[port] = true
	return &linkListener{Listener: p.listen(port), closed: func() { p.free(port) }}, nil
}

func (p *LinkPorts) free(port uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.reserved, port)
}

func (p *LinkPorts) acquire(port uint32) (*linkPort, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reserved[port] {
		return nil, fmt.Errorf("wait for a stream to port %d: %w", port, errPortTaken)
	}
	l := p.ports[port]
	if l == nil {
		l = &linkPort{listener: p.listen(port), conns: make(chan net.Conn), gone: make(chan struct{})}
		p.ports[port] = l
		go l.accept()
	}
	l.dialers++
	return l, nil
}

// release ends the wait of one; the last one closes the port and waits for it to be closed.
func (p *LinkPorts) release(port uint32, l *linkPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.dialers--; l.dialers > 0 {
		return
	}
	delete(p.ports, port)
	_ = l.listener.Close() // ends accept; nothing can be lost by it
	for {
		select {
		case conn := <-l.conns:
			_ = conn.Close() // it came too late
		case <-l.gone:
			return
		}
	}
}

// accept hands the host's streams to the dialers until the listener is closed.
func (l *linkPort) accept() {
	defer close(l.gone)
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.conns <- conn // there is a dialer, or release
	}
}

// linkListener frees its port when it is closed.
type linkListener struct {
	net.Listener
	once   sync.Once
	closed func()
}

// Close implements net.Listener.
func (l *linkListener) Close() error {
	err := l.Listener.Close()
	l.once.Do(l.closed)
	return err
}
