package shim_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/network"
)

// worldAddr is the address of the tests' host that is not a loopback one.
const worldAddr = "192.0.2.1"

// ownNetwork gives the test, and the processes it starts, a network of their own with the
// address worldAddr in it.
func ownNetwork(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network of its own")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netlink.ParseAddr(worldAddr + "/32")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(lo, addr); err != nil {
		t.Fatal(err)
	}
}

// netProgram answers, on port 80 by TCP, "lookup NAME" and "dial ADDRESS" (whose greeting
// it returns) and "read FILE", one a connection. Packets to its port 80 are sent back.
const netProgram = `package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

func main() {
	packets, err := net.ListenPacket("udp", ":80")
	if err != nil {
		panic(err)
	}
	go func() {
		b := make([]byte, 65536)
		for {
			n, from, err := packets.ReadFrom(b)
			if err == nil {
				packets.WriteTo(b[:n], from)
			}
		}
	}()
	l, err := net.Listen("tcp", ":80")
	if err != nil {
		panic(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go serve(c)
	}
}

func serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	line, _ := r.ReadString('\n')
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	verb, word, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch verb {
	case "hello":
		fmt.Fprint(c, "hello from ", word)
	case "lookup":
		addrs, err := net.DefaultResolver.LookupHost(ctx, word)
		fmt.Fprint(c, addrs, err)
	case "dial":
		var d net.Dialer
		out, err := d.DialContext(ctx, "tcp", word)
		if err != nil {
			fmt.Fprint(c, err)
			return
		}
		defer out.Close()
		fmt.Fprintln(out, "hello", os.Getenv("NAME"))
		io.Copy(c, out)
	case "read":
		data, err := os.ReadFile(word)
		c.Write(data)
		if err != nil {
			fmt.Fprint(c, err)
		}
	}
}
`

// netTemplate is a template disk whose /main is netProgram.
func netTemplate(t *testing.T) driver.Disk {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for _, sub := range []string{"proc", "sys", "dev", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(netProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "template.img")
	tool(t, []string{"CGO_ENABLED=0", "GOOS=linux"}, "go", "build", "-o", filepath.Join(root, "main"), source)
	tool(t, nil, "/usr/sbin/mkfs.ext4", "-q", "-d", root, image, "16M")
	if err := os.Chmod(image, 0o444); err != nil {
		t.Fatal(err)
	}
	return driver.Disk{ID: "i00000000000000ff", Path: image, ReadOnly: true}
}

// netPod boots a machine in the network that runs netProgram, with its port 80 at hostPort.
func netPod(ctx context.Context, t *testing.T, d driver.Driver, guest driver.Guest, disk driver.Disk, name string, hostPort uint16) driver.Machine {
	t.Helper()
	spec := networked(name, hostPort)
	spec.Network.Ports = append(spec.Network.Ports, driver.Port{Protocol: "udp", HostPort: hostPort, Port: 80})
	spec.MemoryBytes, spec.StoreBytes, spec.Guest, spec.Disks = 256<<20, 1<<30, guest, []driver.Disk{disk}
	m, err := d.Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Delete(context.Background()); err != nil {
			t.Error(err)
		}
	})
	runNetProgram(ctx, t, m, name, disk)
	return m
}

func runNetProgram(ctx context.Context, t *testing.T, m driver.Machine, name string, disk driver.Disk) {
	t.Helper()
	i := info(t, m)
	a := agentpb.NewAgentClient(m.Agent())
	if _, err := a.Configure(ctx, &agentpb.ConfigureRequest{
		Pod: &agentpb.PodIdentity{Uid: m.ID(), Namespace: "default", Name: name, VmDigest: "v"}, Hostname: name,
		Network: &agentpb.NetworkConfig{
			Address: i.Spec.Network.Address.String(), Gateway: i.Gateway.String(), Mac: i.MAC,
			Nameservers: []string{i.Gateway.String()}, Searches: []string{"default"}, Options: []string{"timeout:3"},
			Hosts: []*agentpb.HostAlias{{Ip: "192.0.2.99", Hostnames: []string{"alias.example"}}},
		},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.AddContainer(ctx, &agentpb.AddContainerRequest{Container: &agentpb.ContainerSpec{
		Name: "main", Digest: "d", RootfsDisk: disk.ID, Argv: []string{"/main"}, Env: []string{"NAME=" + name},
	}}); err != nil {
		t.Fatal(err)
	}
}

// say sends a line to a host port and returns what comes back.
func say(t *testing.T, hostPort uint16, line string) string {
	t.Helper()
	var answer []byte
	eventually(t, func() bool { // a client is reset until the container listens
		c, err := net.DialTCP("tcp", nil, loopback(hostPort))
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err = fmt.Fprintln(c, line); err == nil {
			answer, err = io.ReadAll(c)
		}
		return err == nil
	})
	return string(answer)
}

func loopback(port uint16) *net.TCPAddr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port))
}

// TestQEMUNetwork has two real machines reach the world, each other, and be reached.
func TestQEMUNetwork(t *testing.T) {
	guest, disk := bundle(t), netTemplate(t)
	ownNetwork(t)
	world, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.MustParseAddrPort(worldAddr+":80")))
	if err != nil {
		t.Fatal(err)
	}
	greeted := make(chan struct{})
	go func() {
		defer close(greeted)
		for {
			c, err := world.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(c).ReadString('\n')
			_, _ = fmt.Fprint(c, "the world hears ", line)
			_ = c.Close()
		}
	}()
	defer func() { _ = world.Close(); <-greeted }()

	d := qemuDriver(t, shortDir(t))
	t.Cleanup(func() { _ = d.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	web := netPod(ctx, t, d, guest, disk, "web", 8080)
	db := netPod(ctx, t, d, guest, disk, "db", 8081)
	addr := info(t, db).Spec.Network.Address.Addr().String()
	say(t, 8081, "hello db") // it listens

	for line, want := range map[string]string{
		"hello host":                   "hello from host",
		"dial " + worldAddr + ":80":    "the world hears hello web\n",
		"lookup db":                    "[" + addr + "] <nil>",
		"lookup db.default":            "[" + addr + "] <nil>",
		"lookup alias.example":         "[192.0.2.99] <nil>",
		"dial db:80":                   "hello from web",
		"dial db.default:80":           "hello from web",
		"dial " + addr + ":80":         "hello from web",
		"dial " + worldAddr + ":8081":  "connection refused", // db's host port is on loopback only
		"dial 169.254.169.254:80":      "connection refused",
		"read /etc/resolv.conf":        "nameserver 10.99.0.1\nsearch default\noptions timeout:3\n",
		"read /sys/class/net/eth0/mtu": fmt.Sprintln(network.MTU),
		"read /proc/net/if_inet6":      " lo\n",
	} {
		if got := say(t, 8080, line); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	udp, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(worldAddr+":8080")))
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	b := make([]byte, 100)
	eventually(t, func() bool {
		_, err := udp.Write([]byte("packet"))
		if err != nil {
			return false
		}
		_ = udp.SetReadDeadline(time.Now().Add(time.Second))
		n, err := udp.Read(b)
		return err == nil && string(b[:n]) == "packet"
	})
	t.Logf("shim: %s", memory(t, info(t, web).HolderPID))

	// A machine that is started again is found as before.
	if err := db.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := db.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if got := info(t, db).Spec.Network.Address.Addr().String(); got != addr {
		t.Errorf("address %s, not %s again", got, addr)
	}
	runNetProgram(ctx, t, db, "db", disk)
	eventually(t, func() bool { return say(t, 8080, "dial db:80") == "hello from web" })
	if got := say(t, 8081, "dial web:80"); got != "hello from db" {
		t.Errorf("after a restart: %q", got)
	}
}
