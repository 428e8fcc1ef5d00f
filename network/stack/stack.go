// Package stack is one machine's way out: a user-mode TCP/IP stack that is the gateway at
// the far end of the machine's network card. It needs no privilege and no device of the
// host: what the guest connects to is dialled by this process, the host's ports that lead
// into the guest are opened by it, and frames for other machines go to their own stacks'
// sockets, one message each. Nothing is shared with another machine's stack, so a machine
// that ends takes nothing with it but itself.
package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/unixsock"
	"github.com/firkin-dev/firkin-reconcile/network"
	"github.com/firkin-dev/firkin-reconcile/network/frame"
)

const (
	// nic is the stack's only interface.
	nic = 1
	// queued is how many frames wait for the guest to take them.
	queued = 128
	// maxTCP and maxUDP bound the flows of each kind and direction that a machine has at a
	// time: they are descriptors and memory of this process.
	maxTCP = 2048
	maxUDP = 1024
	// dialLimit bounds how long a connection takes to come about.
	dialLimit = 15 * time.Second
)

// Options of a Stack.
type Options struct {
	// Address is the guest's.
	Address netip.Addr
	// Domain is what a name without a dot is looked up in.
	Domain string
	// Ports are opened on the host.
	Ports []driver.Port
	// Peers finds the other machines.
	Peers Peers
	// Socket is the path of the socket that takes frames from other machines.
	Socket string
	// Dial connects to the host's network; nil is a net.Dialer's. Addresses that guests
	// must not reach never come here.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// ResolvConf names the host's resolvers; "/etc/resolv.conf" when empty.
	ResolvConf string
	Log        logr.Logger
}

// Peers finds the other machines of the network.
type Peers interface {
	// Lookup finds a machine's address by its full name.
	Lookup(name string) (netip.Addr, bool)
	// Known tells whether a machine has the address.
	Known(addr netip.Addr) bool
	// Socket is the path of the socket that takes frames for the machine.
	Socket(addr netip.Addr) string
}

// Stack is a machine's gateway at work.
type Stack struct {
	opt    Options
	card   *card
	socket *unixsock.PacketConn
	peers  *peers
	link   *channel.Endpoint
	stack  *stack.Stack

	ctx    context.Context // the stack's life; ends the flows
	cancel context.CancelFunc
	out    flows // those that the guest began
	in     flows // those that came by the host's ports
	// buffers are *[maxDatagram]byte.
	buffers sync.Pool

	mu      sync.Mutex
	closed  bool
	closers []func() error // of what accepts anew
	wg      sync.WaitGroup
}

// New opens the host's ports and puts the gateway to work. A port that is taken is a
// *PortError.
func New(opt Options) (_ *Stack, err error) {
	if opt.Dial == nil {
		opt.Dial = (&net.Dialer{}).DialContext
	}
	if opt.ResolvConf == "" {
		opt.ResolvConf = "/etc/resolv.conf"
	}
	s := &Stack{
		opt: opt, peers: &peers{socket: opt.Peers.Socket, open: make(map[netip.Addr]*peer)},
		out: newFlows(), in: newFlows(),
		buffers: sync.Pool{New: func() any { return new([maxDatagram]byte) }},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.card, err = newCard(); err != nil {
		return nil, err
	}
	if s.socket, err = unixsock.ListenPacket(opt.Socket); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	if err := s.serveNames(); err != nil {
		return nil, err
	}
	for _, p := range opt.Ports {
		if err := s.openPort(p); err != nil {
			return nil, err
		}
	}
	s.run(s.fromGuest)
	s.run(s.fromPeers)
	s.run(s.fromStack)
	return s, nil
}

// Card is the guest's end of its network card. It stays the stack's.
func (s *Stack) Card() *os.File { return s.card.far }

// open makes the stack itself.
func (s *Stack) open() error {
	s.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	gateway, guest := network.MACOf(network.Gateway()), network.MACOf(s.opt.Address)
	s.link = channel.New(queued, frame.MaxSize, tcpip.LinkAddress(gateway[:]))
	subnet := network.Subnet()
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	for _, err := range []tcpip.Error{
		s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack),
		s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &moderate),
		s.stack.CreateNIC(nic, ethernet.New(s.link)),
		s.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
			Protocol: ipv4.ProtocolNumber,
			AddressWithPrefix: tcpip.AddressWithPrefix{
				Address: tcpip.AddrFrom4(network.Gateway().As4()), PrefixLen: subnet.Bits(),
			},
		}, stack.AddressProperties{}),
		// It takes packets to, and answers them from, any address: it stands for all hosts
		// beyond the gateway.
		s.stack.SetSpoofing(nic, true),
		s.stack.SetPromiscuousMode(nic, true),
		// There is one host on this side, and its address is a formula: nobody is asked.
		s.stack.AddStaticNeighbor(nic, ipv4.ProtocolNumber, tcpip.AddrFrom4(s.opt.Address.As4()), tcpip.LinkAddress(guest[:])),
	} {
		if err != nil {
			return fmt.Errorf("make network stack: %s", err)
		}
	}
	only := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(s.opt.Address.As4()), PrefixLen: 32}
	s.stack.SetRouteTable([]tcpip.Route{{Destination: only.Subnet(), NIC: nic}})
	s.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(s.stack, 0, maxTCP, s.dialTCP).HandlePacket)
	s.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(s.stack, s.dialUDP).HandlePacket)
	return nil
}

// guest is a port of the guest.
func (s *Stack) guest(port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(s.opt.Address.As4()), Port: port}
}

// inject gives the stack a frame of the guest's.
func (s *Stack) inject(b []byte) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
	s.link.InjectInbound(0, pkt)
	pkt.DecRef()
}

// fromStack takes frames from the stack to the guest, as fast as that takes them.
func (s *Stack) fromStack() {
	b := make([]byte, 0, frame.MaxSize)
	for {
		pkt := s.link.ReadContext(s.ctx)
		if pkt == nil {
			return
		}
		b = b[:0]
		for _, part := range pkt.AsSlices() {
			b = append(b, part...)
		}
		pkt.DecRef()
		s.toGuest(b)
	}
}

// exists tells whether somebody has the address.
func (s *Stack) exists(addr netip.Addr) bool {
	return addr == network.Gateway() || s.opt.Peers.Known(addr)
}

// Close ends every flow and lets go of the card and the ports.
func (s *Stack) Close() error {
	s.mu.Lock()
	closers := s.closers
	already := s.closed
	s.closed, s.closers = true, nil
	s.mu.Unlock()
	if already {
		return nil
	}
	s.cancel()
	var err error
	for _, c := range closers {
		err = errors.Join(err, c())
	}
	if s.card != nil {
		err = errors.Join(err, s.card.close())
	}
	if s.socket != nil {
		err = errors.Join(err, s.socket.Close())
	}
	s.wg.Wait()
	s.peers.close()
	if s.stack != nil {
		s.stack.Destroy()
	}
	return err
}

// onClose has c called when the stack is closed.
func (s *Stack) onClose(c func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, c)
}

// run runs f as part of the stack's life; false, and nothing runs, when that is over.
func (s *Stack) run(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Go(f)
	return true
}

// acceptPause is how long nothing is accepted after that has failed.
const acceptPause = 100 * time.Millisecond

// pause waits a moment; an error when the stack is closed.
func (s *Stack) pause() error {
	select {
	case <-time.After(acceptPause):
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// flows bounds how many flows there are of each kind.
type flows struct{ tcp, udp slots }

func newFlows() flows { return flows{tcp: make(slots, maxTCP), udp: make(slots, maxUDP)} }

// slots bounds how many there are of something.
type slots chan struct{}

func (s slots) take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s slots) give() { <-s }
