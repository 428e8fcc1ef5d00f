package stack

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/firkin-dev/firkin-reconcile/driver/unixsock"
	"github.com/firkin-dev/firkin-reconcile/network"
	"github.com/firkin-dev/firkin-reconcile/network/frame"
)

// raw is a card without a stack: a guest that says what it likes.
func (h *host) raw(id string) (*guest, net.Conn) {
	g := h.machine(id, Options{})
	g.close()
	wire, err := net.FileConn(g.s.Card())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = wire.Close() })
	return g, wire
}

// udpFrame is a UDP packet of no content.
func udpFrame(to, from network.MAC, packet ...byte) []byte {
	return append(append(append(append([]byte{}, to[:]...), from[:]...), 8, 0), packet...)
}

// next is the next frame within the time that a local one takes, or nil.
func next(t *testing.T, c net.Conn, within time.Duration) []byte {
	t.Helper()
	b := make([]byte, frame.MaxSize)
	_ = c.SetReadDeadline(time.Now().Add(within))
	n, err := c.Read(b)
	if err != nil {
		return nil
	}
	return b[:n]
}

func TestForgedFramesAreDropped(t *testing.T) {
	h := newHost(t)
	a, out := h.raw("a")
	b, in := h.raw("b")
	mine, theirs := network.MACOf(a.addr), network.MACOf(b.addr)
	four, to := a.addr.As4(), b.addr.As4()
	packet := append([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0}, four[:]...)
	packet = append(append(packet, to[:]...), 0, 7, 0, 7, 0, 8, 0, 0)
	forged := append([]byte{}, packet...)
	forged[15] ^= 1 // another machine's address

	for _, f := range [][]byte{
		udpFrame(theirs, mine, forged...), udpFrame(theirs, theirs, packet...), {1, 2, 3}, {},
		udpFrame(theirs, mine, packet...),
	} {
		if _, err := out.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	// The frames keep their order, so the honest one coming first shows that no other came.
	if got := next(t, in, 10*time.Second); string(got) != string(udpFrame(theirs, mine, packet...)) {
		t.Errorf("frame %x", got)
	}

	// A holder that is not honest itself is not believed, either.
	socket, err := unixsock.DialPacket(h.registry.Socket(b.addr))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for _, f := range [][]byte{udpFrame(theirs, mine, forged...), udpFrame(theirs, network.MACOf(network.Gateway()), packet...), udpFrame(theirs, mine, packet...)} {
		if _, err := socket.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	if got := next(t, in, 10*time.Second); string(got) != string(udpFrame(theirs, mine, packet...)) {
		t.Errorf("frame %x", got)
	}
}

func TestAddressesAreAnsweredForMachinesThatAre(t *testing.T) {
	h := newHost(t)
	a, wire := h.raw("a")
	own, mac := a.addr.As4(), network.MACOf(a.addr)
	ask := func(target [4]byte) {
		b := append([]byte{255, 255, 255, 255, 255, 255}, mac[:]...)
		b = append(append(b, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1), mac[:]...)
		b = append(append(append(b, own[:]...), 0, 0, 0, 0, 0, 0), target[:]...)
		if _, err := wire.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	ask(network.Machine(4242).As4()) // there is none
	ask(network.Gateway().As4())
	if got, want := next(t, wire, 10*time.Second), frame.AppendReply(nil, a.addr, network.Gateway()); string(got) != string(want) {
		t.Errorf("answer %x, want %x", got, want)
	}
}

// TestAMachineThatTakesNothing holds that one does not keep others from what they do.
func TestAMachineThatTakesNothing(t *testing.T) {
	h := newHost(t)
	stuck, _ := h.raw("stuck")
	a, b := h.machine("a", Options{}), h.machine("b", Options{})
	echo(t, b.listen(80))
	mine := network.MACOf(a.addr)
	from, to := a.addr.As4(), stuck.addr.As4()
	packet := append(append(append([]byte{0x45, 0, 0x40, 0, 0, 0, 0, 0, 64, 17, 0, 0}, from[:]...), to[:]...), make([]byte, 0x4000-20)...)
	for range 2000 {
		if _, err := a.wire.Write(udpFrame(network.MACOf(stuck.addr), mine, packet...)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := a.dial(ctxOf(t), netip.AddrPortFrom(b.addr, 80))
	if err != nil {
		t.Fatal(err)
	}
	if got := talk(t, c, "hello "); got != "hello end" {
		t.Errorf("%q", got)
	}
}
