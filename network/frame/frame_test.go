package frame

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/network"
)

// packetOf makes a frame with an IPv4 packet.
func packetOf(dst, src network.MAC, from, to netip.Addr, protocol byte, payload ...byte) []byte {
	b := append(append([]byte{}, dst[:]...), src[:]...)
	b = binary.BigEndian.AppendUint16(b, typeIPv4)
	h := make([]byte, ipv4HeaderSize)
	h[0], h[9] = 0x45, protocol
	binary.BigEndian.PutUint16(h[2:], uint16(ipv4HeaderSize+len(payload)))
	f, t := from.As4(), to.As4()
	copy(h[12:], f[:])
	copy(h[16:], t[:])
	return append(append(b, h...), payload...)
}

// asks makes an ARP request.
func asks(src, sender network.MAC, from, target netip.Addr) []byte {
	b := append([]byte{255, 255, 255, 255, 255, 255}, src[:]...)
	b = binary.BigEndian.AppendUint16(b, typeARP)
	b = append(append(b, arpHeader(arpRequest)...), sender[:]...)
	f, t := from.As4(), target.As4()
	b = append(append(b, f[:]...), 0, 0, 0, 0, 0, 0)
	return append(b, t[:]...)
}

func addrs() (own, peer, gateway, world netip.Addr) {
	return network.Machine(5), network.Machine(6), network.Gateway(), netip.MustParseAddr("192.0.2.1")
}

func TestFromGuest(t *testing.T) {
	own, peer, gateway, world := addrs()
	me, they, gw := network.MACOf(own), network.MACOf(peer), network.MACOf(gateway)
	first, cut, six := packetOf(gw, me, own, world, protocolTCP), packetOf(gw, me, own, world, protocolTCP), packetOf(gw, me, own, world, protocolTCP)
	later := packetOf(gw, me, own, world, protocolICMP, 8)
	binary.BigEndian.PutUint16(later[HeaderSize+6:], 7)
	binary.BigEndian.PutUint16(cut[HeaderSize+2:], 21)
	six[HeaderSize] = 0x65
	for name, c := range map[string]struct {
		frame []byte
		way   Way
		addr  netip.Addr
	}{
		"to the world":            {first, ToGateway, netip.Addr{}},
		"to the gateway":          {packetOf(gw, me, own, gateway, protocolICMP, 8), ToGateway, netip.Addr{}},
		"to a machine":            {packetOf(they, me, own, peer, protocolICMP, 8), ToPeer, peer},
		"unreachable":             {packetOf(gw, me, own, world, protocolICMP, 3), ToGateway, netip.Addr{}},
		"fragment":                {later, ToGateway, netip.Addr{}},
		"ping to the world":       {packetOf(gw, me, own, world, protocolICMP, 8), Drop, netip.Addr{}},
		"other protocol":          {packetOf(gw, me, own, world, 47), Drop, netip.Addr{}},
		"forged address":          {packetOf(gw, me, peer, world, protocolTCP), Drop, netip.Addr{}},
		"forged hardware address": {packetOf(gw, they, own, world, protocolTCP), Drop, netip.Addr{}},
		"forged to a machine":     {packetOf(they, me, gateway, peer, protocolTCP), Drop, netip.Addr{}},
		"by a machine":            {packetOf(they, me, own, world, protocolTCP), Drop, netip.Addr{}},
		"to itself":               {packetOf(me, me, own, own, protocolTCP), Drop, netip.Addr{}},
		"broadcast":               {packetOf(network.MAC{255, 255, 255, 255, 255, 255}, me, own, netip.MustParseAddr("10.99.255.255"), protocolUDP), Drop, netip.Addr{}},
		"longer than it is":       {cut, Drop, netip.Addr{}},
		"version 6":               {six, Drop, netip.Addr{}},
		"too short":               {first[:13], Drop, netip.Addr{}},
		"no packet":               {first[:HeaderSize+19], Drop, netip.Addr{}},
		"too long":                {append(first, make([]byte, MaxSize)...), Drop, netip.Addr{}},
		"question":                {asks(me, me, own, peer), Answer, peer},
		"question for gateway":    {asks(me, me, own, gateway), Answer, gateway},
		"question for itself":     {asks(me, me, own, own), Drop, netip.Addr{}},
		"question for a stranger": {asks(me, me, own, world), Drop, netip.Addr{}},
		"another's question":      {asks(me, they, peer, gateway), Drop, netip.Addr{}},
		"question from elsewhere": {asks(me, me, peer, gateway), Drop, netip.Addr{}},
		"short question":          {asks(me, me, own, peer)[:HeaderSize+27], Drop, netip.Addr{}},
	} {
		if way, addr := FromGuest(own, c.frame); way != c.way || addr != c.addr {
			t.Errorf("%s: %d, %s; want %d, %s", name, way, addr, c.way, c.addr)
		}
	}
}

func TestFromPeer(t *testing.T) {
	own, peer, gateway, world := addrs()
	me, they, gw := network.MACOf(own), network.MACOf(peer), network.MACOf(gateway)
	for name, c := range map[string]struct {
		frame []byte
		ok    bool
	}{
		"packet":                 {packetOf(me, they, peer, own, protocolTCP), true},
		"from own address":       {packetOf(me, me, own, own, protocolTCP), false},
		"from the gateway":       {packetOf(me, gw, gateway, own, protocolTCP), false},
		"from the gateway's":     {packetOf(me, gw, world, own, protocolTCP), false},
		"with another's address": {packetOf(me, they, world, own, protocolTCP), false},
		"for another":            {packetOf(they, they, peer, own, protocolTCP), false},
		"for another address":    {packetOf(me, they, peer, world, protocolTCP), false},
		"question":               {asks(they, they, peer, own), false},
		"nothing":                {nil, false},
	} {
		if ok := FromPeer(own, c.frame); ok != c.ok {
			t.Errorf("%s: %t", name, ok)
		}
	}
}

func TestAppendReply(t *testing.T) {
	own, peer, _, _ := addrs()
	me, they := network.MACOf(own), network.MACOf(peer)
	b := AppendReply(nil, own, peer)
	if len(b) != HeaderSize+arpSize || destination(b) != me || source(b) != they {
		t.Fatalf("reply %x", b)
	}
	a := b[HeaderSize:]
	if a[7] != arpReply || network.MAC(a[8:14]) != they || address(a[14:]) != peer || network.MAC(a[18:24]) != me || address(a[24:]) != own {
		t.Errorf("reply %x", a)
	}
}

// FuzzFrames holds that nothing but a guest's own packets pass, whatever it sends.
func FuzzFrames(f *testing.F) {
	own, peer, gateway, world := addrs()
	me, they, gw := network.MACOf(own), network.MACOf(peer), network.MACOf(gateway)
	f.Add(packetOf(gw, me, own, world, protocolTCP, 1, 2, 3))
	f.Add(packetOf(they, me, own, peer, protocolICMP, 8))
	f.Add(packetOf(me, they, peer, own, protocolUDP, 1))
	f.Add(asks(me, me, own, peer))
	f.Fuzz(func(t *testing.T, b []byte) {
		way, addr := FromGuest(own, b)
		if way != Drop && source(b) != me {
			t.Errorf("a forged frame goes %d", way)
		}
		if way == ToPeer && (!FromPeer(addr, b) || addr == own) {
			t.Errorf("a frame that %s would not take goes there", addr)
		}
		if FromPeer(own, b) && (way != Drop || source(b) == me || source(b) == gw) {
			t.Error("another machine's frame is the guest's own")
		}
	})
}
