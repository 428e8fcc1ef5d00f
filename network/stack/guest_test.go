package stack

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-logr/logr/testr"
	"go.uber.org/goleak"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/firkin-dev/firkin-reconcile/network"
	"github.com/firkin-dev/firkin-reconcile/network/frame"
	"github.com/firkin-dev/firkin-reconcile/network/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a host of the tests: machines' directories, and a world that stands for all
// hosts beyond the gateways.
type host struct {
	t        *testing.T
	registry registry.Registry
	resolv   string

	mu    sync.Mutex
	world map[string]string // "tcp4 192.0.2.1:80" -> the address where it really listens
	asked []string
}

func newHost(t *testing.T) *host {
	dir, err := os.MkdirTemp("", "net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &host{t: t, world: map[string]string{}, resolv: filepath.Join(dir, "resolv.conf")}
	h.registry = registry.Registry{Dir: dir, Live: func(id string) bool {
		_, err := os.Stat(filepath.Join(dir, id))
		return err == nil
	}}
	if err := os.WriteFile(h.resolv, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

// Dial is the stacks' way to the world. Only what the test put there exists.
func (h *host) Dial(ctx context.Context, proto, address string) (net.Conn, error) {
	h.mu.Lock()
	h.asked = append(h.asked, proto+" "+address)
	real, ok := h.world[proto+" "+address]
	h.mu.Unlock()
	if !ok {
		return nil, os.ErrNotExist
	}
	var d net.Dialer
	return d.DialContext(ctx, proto, real)
}

func (h *host) put(proto, address, real string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.world[proto+" "+address] = real
}

func (h *host) dialled() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.asked)
}

// machine starts a machine's stack, with opt's ports, and its guest.
func (h *host) machine(id string, opt Options) *guest {
	t := h.t
	t.Helper()
	dir := filepath.Join(h.registry.Dir, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	addr, err := h.registry.Reserve(t.Context(), registry.Owner{ID: id, Name: "default/" + id, Names: []string{id + ".default"}})
	if err != nil {
		t.Fatal(err)
	}
	opt.Address, opt.Domain, opt.Peers, opt.Socket = addr, "default", h.registry, registry.OwnSocket(dir)
	opt.Dial, opt.ResolvConf, opt.Log = h.Dial, h.resolv, testr.NewWithOptions(t, testr.Options{Verbosity: 1})
	s, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, s)
	t.Cleanup(func() { // last in, first out: the guest is closed before
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(g.close)
	return g
}

// guest is a guest at a card: the same stack as the gateway's, set up as Linux would be.
type guest struct {
	t     *testing.T
	s     *Stack
	addr  netip.Addr
	wire  net.Conn
	link  *channel.Endpoint
	stack *stack.Stack
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

func newGuest(t *testing.T, s *Stack) *guest {
	t.Helper()
	wire, err := net.FileConn(s.Card())
	if err != nil {
		t.Fatal(err)
	}
	addr := s.opt.Address
	mac := network.MACOf(addr)
	g := &guest{t: t, s: s, addr: addr, wire: wire, link: channel.New(64, frame.MaxSize, tcpip.LinkAddress(mac[:]))}
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	subnet := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(addr.As4()), PrefixLen: network.Subnet().Bits()}
	for _, err := range []tcpip.Error{
		g.stack.CreateNIC(1, ethernet.New(g.link)),
		g.stack.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: subnet}, stack.AddressProperties{}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	g.stack.SetRouteTable([]tcpip.Route{
		{Destination: subnet.Subnet(), NIC: 1},
		{Destination: header.IPv4EmptySubnet, Gateway: tcpip.AddrFrom4(network.Gateway().As4()), NIC: 1},
	})
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	g.wg.Go(func() {
		for pkt := g.link.ReadContext(ctx); pkt != nil; pkt = g.link.ReadContext(ctx) {
			view := pkt.ToView()
			_, _ = g.wire.Write(view.AsSlice())
			view.Release()
			pkt.DecRef()
		}
	})
	g.wg.Go(func() {
		b := make([]byte, frame.MaxSize)
		for {
			n, err := g.wire.Read(b)
			if err != nil {
				return
			}
			pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b[:n])})
			g.link.InjectInbound(0, pkt)
			pkt.DecRef()
		}
	})
	return g
}

func (g *guest) close() {
	g.stop()
	_ = g.wire.Close()
	g.wg.Wait()
	g.stack.Destroy()
}

func full(ap netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4(ap.Addr().As4()), Port: ap.Port()}
}

func (g *guest) dial(ctx context.Context, to netip.AddrPort) (*gonet.TCPConn, error) {
	return gonet.DialContextTCP(ctx, g.stack, full(to), ipv4.ProtocolNumber)
}

func (g *guest) dialUDP(to netip.AddrPort) *gonet.UDPConn {
	g.t.Helper()
	addr := full(to)
	c, err := gonet.DialUDP(g.stack, nil, &addr, ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (g *guest) listen(port uint16) net.Listener {
	g.t.Helper()
	l, err := gonet.ListenTCP(g.stack, full(netip.AddrPortFrom(g.addr, port)), ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = l.Close() })
	return l
}
