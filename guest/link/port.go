package link

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
)

// requestPort says which port a new stream is for and takes the answer.
func requestPort(rw io.ReadWriter, port uint32) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4), port)
	if _, err := rw.Write(b); err != nil {
		return fmt.Errorf("send port: %w", err)
	}
	if _, err := io.ReadFull(rw, b[:1]); err != nil {
		return fmt.Errorf("await answer: %w", err)
	}
	if b[0] != portOpen {
		return ErrPortRefused
	}
	return nil
}

// listener is a net.Listener for one port. Its streams come from whatever session
// there is; it outlives them all.
type listener struct {
	port  uint32
	guest *Guest
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	var c net.Conn
	select {
	case c = <-l.conns:
	case <-l.done:
	case <-l.guest.done:
	}
	select {
	case <-l.guest.done: // c is dead with its session
	default:
		if c != nil {
			return c, nil
		}
	}
	return nil, fmt.Errorf("accept on link port %d: %w", l.port, net.ErrClosed)
}

// Close implements net.Listener; accepted streams live on.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.guest.unlisten(l.port)
		close(l.done)
		for {
			select {
			case c := <-l.conns:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return Addr{Port: l.port} }

// offer gives conn to the accepter, or closes it.
func (l *listener) offer(conn net.Conn, over <-chan struct{}) {
	select {
	case <-l.done:
		_ = conn.Close()
		return
	default:
	}
	select {
	case l.conns <- conn:
	case <-l.done:
		_ = conn.Close()
	case <-over:
		_ = conn.Close()
	}
}
