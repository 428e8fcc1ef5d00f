package drivertest

import (
	"net"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// place checks that a machine has a place in the network, with the address that the driver
// gave it.
func place(t *testing.T, i driver.Info) {
	t.Helper()
	n := i.Spec.Network
	if !n.Enabled || !n.Address.IsValid() || n.Address.Addr() == n.Address.Masked().Addr() {
		t.Errorf("network %+v", n)
	}
	if !n.Address.Contains(i.Gateway) || i.Gateway == n.Address.Addr() {
		t.Errorf("gateway %s of %s", i.Gateway, n.Address)
	}
	if mac, err := net.ParseMAC(i.MAC); err != nil || mac[0]&3 != 2 {
		t.Errorf("hardware address %q: %v", i.MAC, err)
	}
	if n.Domain != "default" || len(n.Names) != 1 {
		t.Errorf("network %+v: names are the caller's", n)
	}
}

// apart checks that two machines have different places.
func apart(t *testing.T, a, b driver.Info) {
	t.Helper()
	if a.Spec.Network.Address == b.Spec.Network.Address || a.MAC == b.MAC {
		t.Errorf("two machines have %s, %s and %s, %s", a.Spec.Network.Address, a.MAC, b.Spec.Network.Address, b.MAC)
	}
	if a.Gateway != b.Gateway {
		t.Errorf("gateways %s and %s", a.Gateway, b.Gateway)
	}
}
