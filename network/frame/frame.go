// Package frame reads Ethernet frames and says where each may go. It is pure, and takes
// every byte for an enemy's: what comes from a guest, or from another machine's holder,
// goes through FromGuest or FromPeer before anything else sees it.
package frame

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/firkin-dev/firkin-reconcile/network"
)

// Sizes, in bytes.
const (
	// HeaderSize is that of an Ethernet header.
	HeaderSize = 14
	// MaxSize is that of the largest frame.
	MaxSize = HeaderSize + network.MTU

	ipv4HeaderSize = 20
	arpSize        = 28
)

// The numbers of the protocols that pass.
const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806

	protocolICMP = 1
	protocolTCP  = 6
	protocolUDP  = 17

	arpRequest = 1
	arpReply   = 2

	icmpEchoRequest = 8
)

// Way is where a frame goes.
type Way int

// The ways of a frame.
const (
	// Drop: nowhere.
	Drop Way = iota
	// ToGateway: into the machine's own stack.
	ToGateway
	// ToPeer: to another machine.
	ToPeer
	// Answer: it asks for the hardware address of a machine or of the gateway.
	Answer
)

// FromGuest says where a frame goes that the guest with the address own has sent, and the
// address in question (of ToPeer and Answer). A guest speaks for itself only: a frame
// from another hardware or IPv4 address than its own is dropped, and so is everything
// but IPv4 to one destination and questions for addresses (ARP).
func FromGuest(own netip.Addr, b []byte) (Way, netip.Addr) {
	if len(b) < HeaderSize || len(b) > MaxSize || source(b) != network.MACOf(own) {
		return Drop, netip.Addr{}
	}
	switch binary.BigEndian.Uint16(b[12:]) {
	case typeARP:
		return question(own, b)
	case typeIPv4:
		return packet(own, b)
	}
	return Drop, netip.Addr{}
}

// question reads an ARP request.
func question(own netip.Addr, b []byte) (Way, netip.Addr) {
	a := b[HeaderSize:]
	if len(a) < arpSize || !bytes.Equal(a[:8], arpHeader(arpRequest)) {
		return Drop, netip.Addr{}
	}
	mac := network.MACOf(own)
	if !bytes.Equal(a[8:14], mac[:]) || address(a[14:]) != own {
		return Drop, netip.Addr{}
	}
	target := address(a[24:])
	if target == own || target != network.Gateway() && !network.IsMachine(target) {
		return Drop, netip.Addr{}
	}
	return Answer, target
}

// packet reads an IPv4 packet.
func packet(own netip.Addr, b []byte) (Way, netip.Addr) {
	p, ok := readIPv4(b)
	if !ok || p.source != own {
		return Drop, netip.Addr{}
	}
	to, ok := destination(b).Addr()
	switch {
	case !ok || to == own:
		return Drop, netip.Addr{}
	case to == network.Gateway():
		if !p.passesGateway() {
			return Drop, netip.Addr{}
		}
		return ToGateway, netip.Addr{}
	case network.IsMachine(to) && p.destination == to:
		return ToPeer, to
	}
	return Drop, netip.Addr{}
}

// FromPeer tells whether a frame from another machine may go to the guest with the address
// own: it must come from that machine's own addresses and be meant for the guest's.
func FromPeer(own netip.Addr, b []byte) bool {
	if len(b) < HeaderSize || len(b) > MaxSize || binary.BigEndian.Uint16(b[12:]) != typeIPv4 {
		return false
	}
	from, ok := source(b).Addr()
	if !ok || from == own || !network.IsMachine(from) || destination(b) != network.MACOf(own) {
		return false
	}
	p, ok := readIPv4(b)
	return ok && p.source == from && p.destination == own
}

// AppendReply appends the answer, to the guest with the address own, that target has the
// hardware address that belongs to it.
func AppendReply(b []byte, own, target netip.Addr) []byte {
	guest, mac := network.MACOf(own), network.MACOf(target)
	from, to := target.As4(), own.As4()
	b = append(b, guest[:]...)
	b = append(b, mac[:]...)
	b = binary.BigEndian.AppendUint16(b, typeARP)
	b = append(b, arpHeader(arpReply)...)
	b = append(b, mac[:]...)
	b = append(b, from[:]...)
	b = append(b, guest[:]...)
	return append(b, to[:]...)
}

// arpHeader is how an ARP message for IPv4 over Ethernet begins.
func arpHeader(op byte) []byte { return []byte{0, 1, 0x08, 0, 6, 4, 0, op} }

func destination(b []byte) network.MAC { return network.MAC(b[:6]) }
func source(b []byte) network.MAC      { return network.MAC(b[6:12]) }

func address(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

// ipv4 is what matters of a packet.
type ipv4 struct {
	source, destination netip.Addr
	protocol            byte
	fragment            bool // not the first one
	payload             []byte
}

func readIPv4(b []byte) (ipv4, bool) {
	h := b[HeaderSize:]
	if len(h) < ipv4HeaderSize || h[0]>>4 != 4 {
		return ipv4{}, false
	}
	header, total := int(h[0]&15)*4, int(binary.BigEndian.Uint16(h[2:]))
	if header < ipv4HeaderSize || total < header || total > len(h) {
		return ipv4{}, false
	}
	return ipv4{
		source: address(h[12:]), destination: address(h[16:]), protocol: h[9],
		fragment: binary.BigEndian.Uint16(h[6:])&0x1fff != 0, payload: h[header:total],
	}, true
}

// passesGateway tells whether the stack behind the gateway takes the packet. It answers
// echoes to the gateway only: it cannot tell whether another host would.
func (p ipv4) passesGateway() bool {
	switch p.protocol {
	case protocolTCP, protocolUDP:
		return true
	case protocolICMP:
		return p.destination == network.Gateway() ||
			p.fragment || len(p.payload) > 0 && p.payload[0] != icmpEchoRequest
	}
	return false
}
