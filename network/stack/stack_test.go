package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/network"
)

// echo answers each connection of l with what it says until it says no more, then "end".
func echo(t *testing.T, l net.Listener) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			_, _ = io.WriteString(c, "end")
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
}

func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// echoUDP answers each packet with itself.
func echoUDP(t *testing.T, c net.PacketConn) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, maxDatagram)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(b[:n], from)
		}
	}()
	t.Cleanup(func() {
		_ = c.Close()
		<-done
	})
}

func ctxOf(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// talk says text, ends its own direction, and returns all that the other side says.
func talk(t *testing.T, c halfConn, text string) string {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, text)
		wrote <- errors.Join(err, c.CloseWrite())
	}()
	got, err := io.ReadAll(c)
	if err := errors.Join(err, <-wrote, c.Close()); err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func random(t *testing.T, n int) string {
	t.Helper()
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return string(b)
}

func TestGuestReachesTheWorld(t *testing.T) {
	h := newHost(t)
	l := listenTCP(t)
	echo(t, l)
	h.put("tcp4", "192.0.2.1:80", l.Addr().String())
	g := h.machine("web", Options{})
	c, err := g.dial(ctxOf(t), netip.MustParseAddrPort("192.0.2.1:80"))
	if err != nil {
		t.Fatal(err)
	}
	text := random(t, 3<<20)
	if got := talk(t, c, text); got != text+"end" {
		t.Errorf("%d bytes came back of %d", len(got), len(text))
	}
}

func TestGuestIsRefused(t *testing.T) {
	h := newHost(t)
	g := h.machine("web", Options{})
	// Nobody is there; the machines' own network, the host's link and loopback are not asked.
	for _, to := range []string{"192.0.2.9:80", "169.254.169.254:80", network.Gateway().String() + ":80"} {
		if _, err := g.dial(ctxOf(t), netip.MustParseAddrPort(to)); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v", to, err)
		}
	}
	if n := h.dialled(); n != 1 {
		t.Errorf("%d hosts were dialled: %q", n, h.asked)
	}
	for _, to := range []string{"127.0.0.1:80", "0.0.0.0:80", "224.0.0.1:80"} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if c, err := g.dial(ctx, netip.MustParseAddrPort(to)); err == nil {
			t.Errorf("%s: connected", to)
			_ = c.Close()
		}
		cancel()
	}
	if n := h.dialled(); n != 1 {
		t.Errorf("%d hosts were dialled: %q", n, h.asked)
	}
}

func TestGuestPacketsReachTheWorld(t *testing.T) {
	h := newHost(t)
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	echoUDP(t, server)
	h.put("udp4", "192.0.2.1:123", server.LocalAddr().String())
	g := h.machine("web", Options{})
	c := g.dialUDP(netip.MustParseAddrPort("192.0.2.1:123"))
	exchange(t, c, random(t, 1))
	exchange(t, c, random(t, network.MTU-28))
}

// exchange sends a packet until it comes back.
func exchange(t *testing.T, c net.Conn, text string) {
	t.Helper()
	b := make([]byte, maxDatagram+1)
	for range 20 {
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := c.Read(b); err == nil {
			if string(b[:n]) != text {
				t.Fatalf("%d bytes came back of %d", n, len(text))
			}
			return
		}
	}
	t.Fatal("no answer")
}

func TestMachinesReachEachOther(t *testing.T) {
	h := newHost(t)
	a, b := h.machine("a", Options{}), h.machine("b", Options{})
	echo(t, b.listen(80))
	c, err := a.dial(ctxOf(t), netip.AddrPortFrom(b.addr, 80))
	if err != nil {
		t.Fatal(err)
	}
	text := random(t, 2<<20)
	if got := talk(t, c, text); got != text+"end" {
		t.Errorf("%d bytes came back of %d", len(got), len(text))
	}
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	l := listenTCP(t)
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func TestHostPorts(t *testing.T) {
	h := newHost(t)
	port := freePort(t)
	loop := netip.MustParseAddr("127.0.0.1")
	g := h.machine("web", Options{Ports: []driver.Port{
		{Protocol: "tcp", HostIP: loop, HostPort: port, Port: 80},
		{Protocol: "udp", HostIP: loop, HostPort: port, Port: 53},
	}})
	at := netip.AddrPortFrom(loop, port).String()

	// Nobody listens in the guest: the client is told.
	c, err := net.Dial("tcp", at)
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("error %v, want a reset", err)
	}

	echo(t, g.listen(80))
	if c, err = net.Dial("tcp", at); err != nil {
		t.Fatal(err)
	}
	text := random(t, 1<<20)
	if got := talk(t, c.(*net.TCPConn), text); got != text+"end" {
		t.Errorf("%d bytes came back of %d", len(got), len(text))
	}

	local := full(netip.AddrPortFrom(g.addr, 53))
	server, err := gonet.DialUDP(g.stack, &local, nil, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	echoUDP(t, server)
	for range 3 { // each client has a flow of its own
		c, err := net.Dial("udp", at)
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, c, random(t, 1200))
		_ = c.Close()
	}
}

func TestTakenPort(t *testing.T) {
	h := newHost(t)
	l := listenTCP(t)
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	_, err := New(Options{
		Address: network.Machine(0), Peers: h.registry, Socket: h.resolv + ".sock", Dial: h.Dial,
		Ports: []driver.Port{{Protocol: "tcp", HostIP: at.Addr(), HostPort: at.Port(), Port: 80}},
	})
	var taken *PortError
	if !errors.As(err, &taken) || !taken.Taken() {
		t.Fatalf("error %v", err)
	}
	if want := "open host port " + at.String() + "/tcp: "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %q, want it to begin with %q", err, want)
	}
}
