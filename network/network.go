// Package network says how the machines of one host form a network, and what a guest
// must be told of it. It is pure; its packages do the work: registry gives out addresses
// and finds names, frame reads Ethernet frames, stack is one machine's way out.
//
// The network has no centre: a hardware address is a formula of the IPv4 address, so
// nobody has to be asked who has which.
package network

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// MTU is the largest IPv4 packet that the network carries, in bytes. No wire is involved,
// and every frame has its price (a system call, a turn of the emulator), so it is the
// largest that both QEMU and Virtualization.framework take.
const MTU = 65520

// Subnet is the machines' network, the same on every host. It never appears on a wire.
func Subnet() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, 0, 0}), 16)
}

// Gateway is the address of each machine's gateway and name server.
func Gateway() netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, 1}) }

// MAC is a hardware address.
type MAC [6]byte

// macPrefix begins every hardware address: locally administered, unicast.
const macPrefix = 0x5a94

// MACOf is the hardware address of an IPv4 address of the network.
func MACOf(addr netip.Addr) MAC {
	var m MAC
	binary.BigEndian.PutUint16(m[:2], macPrefix)
	four := addr.As4()
	copy(m[2:], four[:])
	return m
}

// Addr is the address that the hardware address belongs to; false when it is none of ours.
func (m MAC) Addr() (netip.Addr, bool) {
	if binary.BigEndian.Uint16(m[:2]) != macPrefix {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(m[2:])), true
}

// String is the usual notation ("5a:94:0a:63:00:07").
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// IsMachine tells whether a machine may have the address: it is in the subnet and neither
// its first, its last, nor the gateway's.
func IsMachine(addr netip.Addr) bool {
	n, ok := host(addr)
	return ok && n >= firstHost && n <= lastHost
}

// The host parts of machines' addresses.
const (
	firstHost = 2
	lastHost  = 1<<16 - 2
)

// Machines is how many addresses there are for machines.
const Machines = lastHost - firstHost + 1

// Machine is the n-th address for a machine, 0 <= n < Machines.
func Machine(n int) netip.Addr {
	four := Subnet().Addr().As4()
	binary.BigEndian.PutUint16(four[2:], uint16(firstHost+n))
	return netip.AddrFrom4(four)
}

func host(addr netip.Addr) (int, bool) {
	if !addr.Is4() || !Subnet().Contains(addr) {
		return 0, false
	}
	four := addr.As4()
	return int(binary.BigEndian.Uint16(four[2:])), true
}

// Refusal says why a machine must not reach the address beyond the gateway, "" when it
// may. Nothing of this host's loopback, of its link, or of the machines' own network is
// dialled for a guest.
func Refusal(addr netip.Addr) string {
	switch {
	case !addr.Is4():
		return "not an IPv4 address"
	case addr.As4()[0] == 0:
		return "an address of this host"
	case addr.IsLoopback():
		return "a loopback address"
	case addr.IsLinkLocalUnicast():
		return "a link-local address"
	case addr.IsMulticast():
		return "a multicast address"
	case addr.As4()[0] >= 240:
		return "a reserved address"
	case Subnet().Contains(addr):
		return "an address of the machines' network"
	}
	return ""
}

// ParseMachine reads an address of a machine.
func ParseMachine(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err == nil && !IsMachine(addr) {
		err = fmt.Errorf("%s is not an address of a machine", addr)
	}
	return addr, err
}
