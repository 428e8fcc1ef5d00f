package sim

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
)

// network is a simulated guest's: ports that its processes listen on, in memory.
type network struct {
	mu     sync.Mutex
	ports  map[uint16]*listener
	conns  map[net.Conn]struct{}
	closed bool
	wg     sync.WaitGroup
}

// listener answers HTTP on a port: 200 while healthy says so, else 503.
type listener struct {
	owner   *process
	healthy func() bool
}

func newNetwork() *network {
	return &network{ports: make(map[uint16]*listener), conns: make(map[net.Conn]struct{})}
}

// listen opens a port for a process; false when it is taken.
func (n *network) listen(port uint16, l *listener) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.ports[port] != nil {
		return false
	}
	n.ports[port] = l
	return true
}

// leave closes a process' ports.
func (n *network) leave(p *process) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for port, l := range n.ports {
		if l.owner == p {
			delete(n.ports, port)
		}
	}
}

// dial connects to a port, whatever the host is: there is but this machine.
func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.ports[uint16(port)]
	if l == nil || n.closed {
		return nil, fmt.Errorf("dial %s %s: connect: %w", kind, address, syscall.ECONNREFUSED)
	}
	client, server := net.Pipe()
	n.conns[server] = struct{}{}
	n.wg.Go(func() {
		l.serve(server)
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.conns, server)
	})
	return client, nil
}

// serve answers one request and hangs up.
func (l *listener) serve(conn net.Conn) {
	defer conn.Close()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return // it was no HTTP
	}
	status := http.StatusOK
	if !l.healthy() {
		status = http.StatusServiceUnavailable
	}
	answer := &http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Request: req, Close: true, Body: http.NoBody}
	_ = answer.Write(conn) // fails when the other end has gone
}

// close ends all connections; nothing listens any more.
func (n *network) close() {
	n.mu.Lock()
	n.closed = true
	for conn := range n.conns {
		_ = conn.Close() // a pipe's never fails
	}
	n.mu.Unlock()
	n.wg.Wait()
}
