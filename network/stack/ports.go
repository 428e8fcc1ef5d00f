package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// PortError says that a port of the host could not be opened.
type PortError struct {
	Port driver.Port
	Err  error
}

// Error implements error.
func (e *PortError) Error() string {
	_, address := endpoint(e.Port)
	return fmt.Sprintf("open host port %s/%s: %v", address, e.Port.Protocol, e.Err)
}

func (e *PortError) Unwrap() error { return e.Err }

// Taken tells whether somebody else has the port.
func (e *PortError) Taken() bool { return errors.Is(e.Err, syscall.EADDRINUSE) }

// endpoint is where the host listens: on one address, or, without any, on all of both
// IPv4 and IPv6.
func endpoint(p driver.Port) (network, address string) {
	port := strconv.Itoa(int(p.HostPort))
	switch {
	case !p.HostIP.IsValid():
		return p.Protocol, ":" + port
	case p.HostIP.Is4():
		// Otherwise 0.0.0.0 would be IPv6's addresses, too.
		return p.Protocol + "4", net.JoinHostPort(p.HostIP.String(), port)
	}
	return p.Protocol + "6", net.JoinHostPort(p.HostIP.String(), port)
}

// openPort opens a port of the host that leads into the guest.
func (s *Stack) openPort(p driver.Port) error {
	var err error
	switch p.Protocol {
	case "tcp":
		err = s.openTCP(p)
	case "udp":
		err = s.openUDP(p)
	default:
		err = fmt.Errorf("protocol %q: %w", p.Protocol, driver.ErrUnsupported)
	}
	if err == nil {
		return nil
	}
	// The address is said already, in PortError's own words.
	var call *net.OpError
	if errors.As(err, &call) {
		err = call.Err
	}
	return &PortError{Port: p, Err: err}
}

func (s *Stack) openTCP(p driver.Port) error {
	l, err := net.Listen(endpoint(p))
	if err != nil {
		return err
	}
	s.onClose(l.Close)
	s.run(func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				// No descriptors are left, say; the client waits, and so do we.
				s.opt.Log.Error(err, "accept connection", "port", p.HostPort)
				if s.pause() != nil {
					return
				}
				continue
			}
			if !s.run(func() { s.enterTCP(conn.(*net.TCPConn), p.Port) }) {
				_ = conn.Close()
			}
		}
	})
	return nil
}

func (s *Stack) openUDP(p driver.Port) error {
	conn, err := net.ListenPacket(endpoint(p))
	if err != nil {
		return err
	}
	d := &doorway{s: s, conn: conn.(*net.UDPConn), port: p.Port, clients: make(map[netip.AddrPort]*clientEnd)}
	s.onClose(d.conn.Close)
	s.run(d.serve)
	return nil
}

// doorway is a UDP port of the host that leads into the guest.
type doorway struct {
	s    *Stack
	conn *net.UDPConn
	port uint16

	mu      sync.Mutex
	clients map[netip.AddrPort]*clientEnd
}

// clientBacklog is how many packets of a client wait to be taken by the guest.
const clientBacklog = 16

// serve takes packets until the port is closed.
func (d *doorway) serve() {
	b := make([]byte, maxDatagram)
	for {
		n, from, err := d.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// A reply could not be delivered, say.
			if d.s.ctx.Err() != nil {
				return
			}
			continue
		}
		if c := d.client(from); c != nil {
			select {
			case c.packets <- append([]byte(nil), b[:n]...):
			default: // lost
			}
		}
	}
}

// client returns the end of a client's flow, a new one when it has none; nil when there
// are too many.
func (d *doorway) client(from netip.AddrPort) *clientEnd {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.clients[from]; c != nil {
		return c
	}
	if !d.s.in.udp.take() {
		return nil
	}
	guest, err := d.s.dialGuest(d.port)
	if err != nil {
		d.s.in.udp.give()
		return nil
	}
	c := &clientEnd{d: d, from: from, packets: make(chan []byte, clientBacklog)}
	started := d.s.run(func() {
		defer d.s.in.udp.give()
		defer guest.close()
		defer c.close()
		carry(d.s.ctx, c, guest)
	})
	if !started {
		d.s.in.udp.give()
		guest.close()
		return nil
	}
	d.clients[from] = c
	return c
}

// clientEnd is a client of a doorway as one end of a flow.
type clientEnd struct {
	d       *doorway
	from    netip.AddrPort
	packets chan []byte
}

func (c *clientEnd) receive(ctx context.Context, f func([]byte) error) error {
	select {
	case b := <-c.packets:
		return f(b)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *clientEnd) send(b []byte) error {
	_, err := c.d.conn.WriteToUDPAddrPort(b, c.from)
	return err
}

func (c *clientEnd) close() {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if c.d.clients[c.from] == c {
		delete(c.d.clients, c.from)
	}
}
