package vsock

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// hostOnly is a listener that gives out connections of the host and closes all others.
type hostOnly struct {
	net.Listener
	isHost func(net.Addr) bool
}

// Accept implements net.Listener.
func (l hostOnly) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if errors.Is(err, syscall.EBADF) { // it was closed a moment ago
			err = fmt.Errorf("%w: %w", net.ErrClosed, err)
		}
		if err != nil {
			return nil, err
		}
		if l.isHost(conn.RemoteAddr()) {
			return conn, nil
		}
		_ = conn.Close() // it gets nothing, not even an error
	}
}
