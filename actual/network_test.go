package actual

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestMachineNetwork(t *testing.T) {
	pod := newPod("web")
	pod.Hostname = "db-0"
	got, err := machineNetwork(pod)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(driver.Network{Enabled: true, Domain: "default", Names: []string{"web.default"}}, got, cmp.Comparer(equalAddr), cmp.Comparer(equalPrefix)); diff != "" {
		t.Error(diff)
	}
	pod.Network = schema.Network{Subdomain: "db", Ports: []schema.HostPort{
		{Protocol: "TCP", HostIP: "127.0.0.1", HostPort: 8080, ContainerPort: 80}, {Protocol: "UDP", HostPort: 53, ContainerPort: 5353},
	}}
	if got, err = machineNetwork(pod); err != nil {
		t.Fatal(err)
	}
	want := driver.Network{
		Enabled: true, Domain: "default", Names: []string{"web.default", "db-0.db.default", "db-0.db.default.svc.cluster.local"},
		Ports: []driver.Port{{Protocol: "tcp", HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8080, Port: 80}, {Protocol: "udp", HostPort: 53, Port: 5353}},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(equalAddr), cmp.Comparer(equalPrefix)); diff != "" {
		t.Error(diff)
	}
	pod.Network.Ports[0].HostIP = "nowhere"
	if _, err := machineNetwork(pod); err == nil {
		t.Error("an address that is none is taken")
	}
}

func equalAddr(a, b netip.Addr) bool     { return a == b }
func equalPrefix(a, b netip.Prefix) bool { return a == b }

func TestNetworkConfig(t *testing.T) {
	info := driver.Info{Gateway: netip.MustParseAddr("10.99.0.1"), MAC: "52:00:00:00:00:07"}
	info.Spec.Network = driver.Network{Enabled: true, Address: netip.MustParsePrefix("10.99.0.7/16")}
	pod := newPod("web")
	pod.Network.HostAliases = []schema.HostAlias{{IP: "192.0.2.1", Hostnames: []string{"a", "b"}}}
	pod.Network.DNS = schema.DNSConfig{Nameservers: []string{"192.0.2.53", "10.99.0.1"}, Searches: []string{"example.org", "default"}, Options: []string{"ndots:2", "rotate", "ndots:3"}}
	want := &agentpb.NetworkConfig{
		Address: "10.99.0.7/16", Gateway: "10.99.0.1", Mac: "52:00:00:00:00:07",
		Nameservers: []string{"10.99.0.1", "192.0.2.53"}, Searches: []string{"default", "example.org"}, Options: []string{"rotate", "ndots:3"},
		Hosts: []*agentpb.HostAlias{{Ip: "192.0.2.1", Hostnames: []string{"a", "b"}}},
	}
	if diff := cmp.Diff(want, networkConfig(pod, info), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	pod.Network.DNSPolicy = "None"
	want.Nameservers, want.Searches = []string{"192.0.2.53", "10.99.0.1"}, []string{"example.org", "default"}
	if diff := cmp.Diff(want, networkConfig(pod, info), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	pod.Network = schema.Network{Subdomain: "db"}
	if c := networkConfig(pod, driver.Info{}); c.GetAddress() != "" || c.GetGateway() != "" || len(c.GetNameservers()) != 0 || c.GetFqdn() != "web.db.default.svc.cluster.local" {
		t.Errorf("without a network: %v", c)
	}
	if hostname(pod) != pod.Hostname {
		t.Errorf("hostname %q", hostname(pod))
	}
	pod.Network.FQDN = true
	if hostname(pod) != "web.db.default.svc.cluster.local" {
		t.Errorf("hostname %q", hostname(pod))
	}
}

func TestLookupLikeTheHost(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	text := "# by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch a.example b.example\noptions edns0 trust-ad\nnameserver\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l := lookup{gateway: "10.99.0.1"}
	l.likeHost(readResolvConf(file))
	if diff := cmp.Diff([][]string{{"10.99.0.1", "192.0.2.53"}, {"a.example", "b.example"}, {"edns0", "trust-ad"}}, [][]string{l.servers, l.searches, l.options}); diff != "" {
		t.Error(diff)
	}
	l = lookup{gateway: "10.99.0.1"}
	l.likeHost(readResolvConf(file + ".none"))
	if diff := cmp.Diff([]string{"10.99.0.1"}, l.servers); diff != "" {
		t.Error(diff)
	}
}

// A pod shows the address that its host has now, also where nothing else of it has changed.
func TestHostAddressOfAPod(t *testing.T) {
	inBubble(t, t.TempDir(), func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		p.up(pod)
		if ip := p.status(pod.Ref).HostIP; ip != hostIP() {
			t.Errorf("a pod's host has address %q, not %q", ip, hostIP())
		}
		p.locate("192.0.2.7")
		if ip := p.status(pod.Ref).HostIP; ip != "192.0.2.7" {
			t.Errorf("the host's address is 192.0.2.7, and shown is %q", ip)
		}
		p.refresh()
		if ip := p.status(pod.Ref).HostIP; ip != hostIP() {
			t.Errorf("after a list it is %q, not %q", ip, hostIP())
		}
	})
}
