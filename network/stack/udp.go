package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/firkin-dev/firkin-reconcile/network"
)

const (
	// udpIdle is how long a flow lives without a packet either way.
	udpIdle = 90 * time.Second
	// maxDatagram is the largest payload of a UDP packet over IPv4.
	maxDatagram = 65507
)

// packetEnd is one end of a flow. Nothing is held for one that waits.
type packetEnd interface {
	// receive waits for a packet and hands it to f, which does not keep it. A packet that
	// was refused on the way is no error.
	receive(ctx context.Context, f func([]byte) error) error
	send(b []byte) error
	close()
}

// dialUDP carries a guest's packets to a host beyond the gateway, and the answers back. The
// stack calls it for the first packet between two ports; false has it say that nobody is there.
func (s *Stack) dialUDP(r *udp.ForwarderRequest) bool {
	id := r.ID()
	to := netip.AddrPortFrom(netip.AddrFrom4(id.LocalAddress.As4()), id.LocalPort)
	if why := network.Refusal(to.Addr()); why != "" {
		s.opt.Log.V(1).Info("packet refused", "to", to.String(), "cause", why)
		return false
	}
	if !s.out.udp.take() {
		return true // lost
	}
	guest := &stackEnd{}
	ep, failed := r.CreateEndpoint(&guest.wq)
	if failed != nil {
		s.out.udp.give()
		return true
	}
	guest.ep = ep
	started := s.run(func() {
		defer s.out.udp.give()
		defer guest.close()
		ctx, cancel := context.WithTimeout(s.ctx, dialLimit)
		defer cancel()
		conn, err := s.opt.Dial(ctx, "udp4", to.String())
		if err != nil {
			s.opt.Log.V(1).Info("packets lost", "to", to.String(), "cause", err.Error())
			return
		}
		host, err := s.newHostEnd(conn)
		if err != nil {
			_ = conn.Close()
			return
		}
		defer host.close()
		carry(s.ctx, guest, host)
	})
	if !started {
		s.out.udp.give()
		guest.close()
	}
	return true
}

// carry carries packets both ways until none has passed for udpIdle or ctx ends. It closes
// neither end for the caller.
func carry(ctx context.Context, a, b packetEnd) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := time.AfterFunc(udpIdle, cancel)
	defer idle.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, way := range [][2]packetEnd{{a, b}, {b, a}} {
		wg.Go(func() {
			defer cancel()
			for {
				if err := way[0].receive(ctx, func(p []byte) error {
					idle.Reset(udpIdle)
					// One that cannot be sent is lost.
					_ = way[1].send(p)
					return nil
				}); err != nil {
					return
				}
			}
		})
	}
}

// stackEnd is an end in the guest's network.
type stackEnd struct {
	wq waiter.Queue
	ep tcpip.Endpoint
}

// dialGuest makes the gateway's end of a flow to the guest's port.
func (s *Stack) dialGuest(port uint16) (*stackEnd, error) {
	e := &stackEnd{}
	ep, err := s.stack.NewEndpoint(udp.ProtocolNumber, ipv4.ProtocolNumber, &e.wq)
	if err != nil {
		return nil, fmt.Errorf("dial guest: %s", err)
	}
	if err := ep.Connect(s.guest(port)); err != nil {
		ep.Close()
		return nil, fmt.Errorf("dial guest: %s", err)
	}
	e.ep = ep
	return e, nil
}

func (e *stackEnd) receive(ctx context.Context, f func([]byte) error) error {
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp)
	e.wq.EventRegister(&entry)
	defer e.wq.EventUnregister(&entry)
	var b bytes.Buffer
	for {
		_, err := e.ep.Read(&b, tcpip.ReadOptions{})
		switch err.(type) {
		case nil:
			return f(b.Bytes())
		case *tcpip.ErrWouldBlock:
			select {
			case <-ready:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		case *tcpip.ErrConnectionRefused:
			// The guest said that nobody listens; somebody may, later.
		default:
			return errors.New(err.String())
		}
	}
}

func (e *stackEnd) send(b []byte) error {
	if _, err := e.ep.Write(bytes.NewReader(b), tcpip.WriteOptions{}); err != nil {
		return errors.New(err.String())
	}
	return nil
}

func (e *stackEnd) close() { e.ep.Close() }

// hostEnd is an end in the host's network.
type hostEnd struct {
	net.Conn
	raw     syscall.RawConn
	buffers *sync.Pool
}

func (s *Stack) newHostEnd(conn net.Conn) (*hostEnd, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &hostEnd{Conn: conn, raw: raw, buffers: &s.buffers}, nil
}

func (e *hostEnd) receive(ctx context.Context, f func([]byte) error) error {
	stop := context.AfterFunc(ctx, func() { _ = e.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		var failed error
		var n int
		var b *[maxDatagram]byte
		err := e.raw.Read(func(fd uintptr) bool {
			b = e.buffers.Get().(*[maxDatagram]byte)
			n, failed = syscall.Read(int(fd), b[:])
			if !errors.Is(failed, syscall.EAGAIN) {
				return true
			}
			e.buffers.Put(b)
			return false
		})
		if err != nil {
			return err
		}
		if failed == nil {
			failed = f(b[:n])
			e.buffers.Put(b)
			return failed
		}
		e.buffers.Put(b)
		// Refused: nobody listens there; somebody may, later.
		if !errors.Is(failed, syscall.ECONNREFUSED) && !errors.Is(failed, syscall.EINTR) {
			return failed
		}
	}
}

func (e *hostEnd) send(b []byte) error {
	_, err := e.Write(b)
	return err
}

func (e *hostEnd) close() { _ = e.Close() }
