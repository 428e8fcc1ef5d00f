package shim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/remote"
)

// portVM is a VM whose guest is reached on ports of its own, and reaches ports of the host that
// are there for it alone (vsock).
type portVM interface {
	// DialPort connects with a port of the guest, as soon as somebody listens there.
	DialPort(ctx context.Context, port uint32) (net.Conn, error)
	// ListenPort takes the connections of this guest to a port of the host.
	ListenPort(port uint32) (net.Listener, error)
}

// errPortLost ends a session over a port.
var errPortLost = errors.New("the connection with the guest was lost")

// portSession is a session with a guest that serves the sandbox contract on a port, and has no
// link. It is one connection, and over when that is. The machine vouches for who is at the other
// end, so there is no hello; the boot's id is the kernel's.
//
// No pings are sent, unlike over the link: gRPC servers take them amiss when they come more often than
// every five minutes, and a connection within this host does not die silently.
type portSession struct {
	conn    *grpc.ClientConn
	stream  net.Conn // what conn goes over
	streams remote.Streams
	version string
	boot    string

	once sync.Once
	done chan struct{}
}

func openPort(ctx context.Context, vm driver.VM, guest driver.Guest) (session, error) {
	ports, ok := vm.(portVM)
	if !ok {
		return nil, fmt.Errorf("open session: the guest is reached on vsock port %d: %w by this driver", guest.SandboxPort, driver.ErrUnsupported)
	}
	stream, err := ports.DialPort(ctx, guest.SandboxPort)
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	s := &portSession{stream: stream, streams: remote.OverPorts(ports), version: guest.Version, done: make(chan struct{})}
	first := make(chan net.Conn, 1)
	first <- &portConn{Conn: stream, closed: s.end}
	s.conn, err = dialAgent(func(context.Context) (net.Conn, error) {
		select {
		case c := <-first:
			return c, nil
		default: // another one would be another session
			s.end()
			return nil, errPortLost
		}
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open session: %w", err), stream.Close())
	}
	if s.boot, err = remote.BootID(ctx, s.conn, s.streams); err != nil {
		return nil, errors.Join(fmt.Errorf("open session: %w", err), s.Close())
	}
	return s, nil
}

func (s *portSession) end() { s.once.Do(func() { close(s.done) }) }

// Conn implements session.
func (s *portSession) Conn() *grpc.ClientConn { return s.conn }

// Streams implements session.
func (s *portSession) Streams() remote.Streams { return s.streams }

// BootID implements session.
func (s *portSession) BootID() string { return s.boot }

// AgentVersion implements session: the contract has no call for it, so it is the guest bundle's.
func (s *portSession) AgentVersion() string { return s.version }

// Done implements session.
func (s *portSession) Done() <-chan struct{} { return s.done }

// Err implements session.
func (s *portSession) Err() error {
	select {
	case <-s.done:
		return errPortLost
	default:
		return nil
	}
}

// Close implements session.
func (s *portSession) Close() error {
	s.end()
	err := s.conn.Close()
	_ = s.stream.Close() // gRPC has closed it if it used it
	return err
}

// portConn tells when gRPC is done with a connection: when it was lost, too.
type portConn struct {
	net.Conn
	closed func()
}

// Close implements net.Conn.
func (c *portConn) Close() error {
	c.closed()
	return c.Conn.Close()
}
