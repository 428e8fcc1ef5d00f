package vz

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// DialPort connects with a vsock port of the guest, as soon as somebody listens there.
func (v *vm) DialPort(ctx context.Context, port uint32) (net.Conn, error) {
	conn, err := v.dial(ctx, port)
	if err != nil {
		return nil, fmt.Errorf("connect with port %d of the guest: %w", port, err)
	}
	return conn, nil
}

// ListenPort takes the connections of this guest to a vsock port of the host.
func (v *vm) ListenPort(port uint32) (net.Listener, error) {
	l, err := v.m.listen(port)
	if err != nil {
		return nil, fmt.Errorf("listen on port %d for the guest: %w", port, err)
	}
	return &portListener{Listener: l, closed: make(chan struct{})}, nil
}

// portListener is a listener whose Accept ends when it is closed. The framework's binding waits on
// for a connection that never comes, so one that was closed while it waited leaves that behind.
type portListener struct {
	net.Listener

	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *portListener) Accept() (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	accepted := make(chan result)
	go func() {
		conn, err := l.Listener.Accept()
		select {
		case accepted <- result{conn, err}:
		case <-l.closed:
			if err == nil {
				_ = conn.Close() // nobody waits for it
			}
		}
	}()
	select {
	case r := <-accepted:
		return r.conn, r.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *portListener) Close() error {
	var err error
	l.once.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
	})
	return err
}
