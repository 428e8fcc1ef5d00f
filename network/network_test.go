package network

import (
	"net/netip"
	"testing"
)

func TestHardwareAddresses(t *testing.T) {
	for n := 0; n < Machines; n += 97 {
		addr := Machine(n)
		if !IsMachine(addr) {
			t.Errorf("%s is no machine's address", addr)
		}
		if back, ok := MACOf(addr).Addr(); !ok || back != addr {
			t.Errorf("%s: %s, %t", addr, back, ok)
		}
	}
	if first, last := Machine(0).String(), Machine(Machines-1).String(); first != "10.99.0.2" || last != "10.99.255.254" {
		t.Errorf("addresses from %s to %s", first, last)
	}
	if mac := MACOf(Machine(0)).String(); mac != "5a:94:0a:63:00:02" {
		t.Errorf("hardware address %s", mac)
	}
	if _, ok := (MAC{0x52, 0x54}).Addr(); ok {
		t.Error("a stranger's hardware address has an address")
	}
	for _, s := range []string{"10.99.0.0", "10.99.0.1", "10.99.255.255", "10.98.0.7", "::ffff:10.99.0.7", "fe80::1"} {
		if addr, err := ParseMachine(s); err == nil {
			t.Errorf("%s is a machine's address", addr)
		}
	}
}

func TestRefusal(t *testing.T) {
	for s, refused := range map[string]bool{
		"192.0.2.1": false, "10.98.0.1": false, "8.8.8.8": false, "100.64.0.1": false,
		"0.0.0.0": true, "0.1.2.3": true, "127.0.0.1": true, "127.255.0.53": true, "169.254.169.254": true,
		"224.0.0.251": true, "255.255.255.255": true, "240.0.0.1": true, "10.99.0.1": true, "10.99.7.7": true,
		"::1": true, "2001:db8::1": true, "::ffff:127.0.0.1": true,
	} {
		if why := Refusal(netip.MustParseAddr(s)); (why != "") != refused {
			t.Errorf("%s: %q", s, why)
		}
	}
}
