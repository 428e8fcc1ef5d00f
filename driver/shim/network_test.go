package shim_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/network"
)

// networked is a spec of a machine in the network, with a port of this host's loopback.
func networked(name string, port uint16) driver.Spec {
	spec := newSpec()
	spec.Name = "default/" + name
	spec.Network = driver.Network{
		Enabled: true, Domain: "default", Names: []string{name + ".default"},
		Ports: []driver.Port{{Protocol: "tcp", HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: port, Port: 80}},
	}
	return spec
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// isOpen tells whether somebody listens on a port of this host's loopback.
func isOpen(t *testing.T, port uint16) bool {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)))
	if err == nil {
		l.Close()
	}
	return err != nil
}

func TestMachinesHaveAPlaceInTheNetwork(t *testing.T) {
	dir := shortDir(t)
	d := driverIn(t, dir)
	spec := networked("web", freePort(t))
	spec.Network.Address = netip.MustParsePrefix("192.0.2.1/24") // the driver gives its own
	web, err := d.Create(limit(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	db, err := d.Create(limit(t), networked("db", freePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	a, b := info(t, web), info(t, db)
	addr := a.Spec.Network.Address
	if !network.IsMachine(addr.Addr()) || addr.Bits() != 16 || addr == b.Spec.Network.Address {
		t.Errorf("addresses %s and %s", addr, b.Spec.Network.Address)
	}
	if a.Gateway != network.Gateway() || a.MAC != network.MACOf(addr.Addr()).String() {
		t.Errorf("gateway %s, MAC %s", a.Gateway, a.MAC)
	}
	if len(a.Spec.Network.Names) != 1 || len(a.Spec.Network.Ports) != 1 || a.Spec.Network.Domain != "default" {
		t.Errorf("network %+v", a.Spec.Network)
	}
	port := spec.Network.Ports[0].HostPort
	if !isOpen(t, port) {
		t.Error("the host port is closed")
	}

	// Another that wants the port does not boot, and says who has it.
	third := networked("third", port)
	_, err = d.Create(limit(t), third)
	if err == nil || !strings.Contains(err.Error(), "address already in use: pod default/web has it") {
		t.Errorf("error %v", err)
	}

	if err := web.Stop(limit(t)); err != nil {
		t.Fatal(err)
	}
	if isOpen(t, port) || !isOpen(t, b.Spec.Network.Ports[0].HostPort) {
		t.Error("stopping a machine closes its own ports, and no others")
	}
	if err := web.Start(limit(t)); err != nil {
		t.Fatal(err)
	}
	if again := info(t, web); again.Spec.Network.Address != addr || again.MAC != a.MAC || !isOpen(t, port) {
		t.Errorf("started again: %+v", again.Spec.Network)
	}
	if err := web.Delete(limit(t)); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "net", "10.*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != b.Spec.Network.Address.Addr().String() {
		t.Errorf("addresses in use: %q, %v", left, err)
	}
	names, err := os.ReadDir(filepath.Join(dir, "net", "names"))
	if err != nil || len(names) != 1 || names[0].Name() != "db.default" {
		t.Errorf("names in use: %v, %v", names, err)
	}
}

func TestAnotherProcessHasThePort(t *testing.T) {
	d := driverIn(t, shortDir(t))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	spec := networked("web", uint16(l.Addr().(*net.TCPAddr).Port))
	spec.ID = uuid.NewString()
	_, err = d.Create(limit(t), spec)
	if err == nil || !strings.Contains(err.Error(), "address already in use: another process of this host has it") {
		t.Errorf("error %v", err)
	}
	all, err := d.Machines(limit(t))
	if err != nil || len(all) != 0 {
		t.Errorf("machines %v, %v", all, err)
	}
}

func TestAMachineWithoutNetworkHasNone(t *testing.T) {
	dir := shortDir(t)
	m := create(t, driverIn(t, dir))
	if i := info(t, m); i.Spec.Network.Address.IsValid() || i.Gateway.IsValid() || i.MAC != "" {
		t.Errorf("info %+v", i)
	}
	if in, err := filepath.Glob(filepath.Join(dir, "net", "10.*")); err != nil || len(in) != 0 {
		t.Errorf("addresses in use: %q, %v", in, err)
	}
}
