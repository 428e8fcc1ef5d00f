package stack

import (
	"context"
	"io"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/firkin-dev/firkin-reconcile/network"
)

// copyBuffer is what each direction of a connection reads at a time.
const copyBuffer = 32 << 10

// halfConn is a connection whose two directions end apart.
type halfConn interface {
	net.Conn
	CloseWrite() error
}

// dialTCP connects a guest to a host beyond the gateway. The guest's own connection comes
// about, or is refused, as the one to the host does. The stack calls it on a goroutine of
// its own.
func (s *Stack) dialTCP(r *tcp.ForwarderRequest) {
	done := make(chan struct{})
	if !s.run(func() { defer close(done); s.forwardTCP(r) }) {
		r.Complete(true)
		return
	}
	<-done
}

func (s *Stack) forwardTCP(r *tcp.ForwarderRequest) {
	id := r.ID()
	to := netip.AddrPortFrom(netip.AddrFrom4(id.LocalAddress.As4()), id.LocalPort)
	if why := network.Refusal(to.Addr()); why != "" {
		s.opt.Log.V(1).Info("connection refused", "to", to.String(), "cause", why)
		r.Complete(true)
		return
	}
	if !s.out.tcp.take() {
		r.Complete(true)
		return
	}
	defer s.out.tcp.give()
	ctx, cancel := context.WithTimeout(s.ctx, dialLimit)
	defer cancel()
	host, err := s.opt.Dial(ctx, "tcp4", to.String())
	if err != nil {
		s.opt.Log.V(1).Info("connection failed", "to", to.String(), "cause", err.Error())
		r.Complete(true)
		return
	}
	half, ok := host.(halfConn)
	if !ok {
		_ = host.Close()
		r.Complete(true)
		return
	}
	var wq waiter.Queue
	ep, failed := r.CreateEndpoint(&wq)
	r.Complete(failed != nil)
	if failed != nil {
		_ = host.Close() // the guest has given up meanwhile
		return
	}
	s.join(half, gonet.NewTCPConn(&wq, ep))
}

// enterTCP connects a client of the host's with the guest's port.
func (s *Stack) enterTCP(client halfConn, port uint16) {
	if !s.in.tcp.take() {
		_ = client.Close()
		return
	}
	defer s.in.tcp.give()
	ctx, cancel := context.WithTimeout(s.ctx, dialLimit)
	defer cancel()
	guest, err := gonet.DialContextTCP(ctx, s.stack, s.guest(port), ipv4.ProtocolNumber)
	if err != nil {
		s.opt.Log.V(1).Info("guest does not take connection", "port", port, "cause", err.Error())
		reset(client)
		return
	}
	s.join(client, guest)
}

// reset closes a connection so that the other side sees an error, not an orderly end.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // best effort
	}
	_ = c.Close()
}

// join copies both ways until both are at their ends, one fails, or the stack is closed.
// The end of one direction is passed on and leaves the other one open.
func (s *Stack) join(a, b halfConn) {
	stop := context.AfterFunc(s.ctx, func() {
		_ = a.Close()
		_ = b.Close()
	})
	defer stop()
	ends := make(chan error, 2)
	go func() { ends <- pass(a, b) }()
	go func() { ends <- pass(b, a) }()
	for range 2 {
		if err := <-ends; err != nil {
			reset(a)
			reset(b)
		}
	}
	_ = a.Close()
	_ = b.Close()
}

// pass copies from one connection to another, up to and including its end.
func pass(to, from halfConn) error {
	// Plain readers and writers: splice and the like do not help with a stack in user mode.
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, copyBuffer))
	if err != nil {
		return err
	}
	return to.CloseWrite()
}
