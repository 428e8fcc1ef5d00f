package sandbox

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

func TestResolvConf(t *testing.T) {
	for _, c := range []struct {
		req  *sandboxpb.ConfigureDnsRequest
		want string // "": it is refused
	}{
		{&sandboxpb.ConfigureDnsRequest{
			Nameservers: []string{"10.0.0.1", "fd00::1"}, Domain: proto.String("a.test"),
			SearchDomains: []string{"b.test", "c.test"}, Options: []string{"ndots:5"},
		}, "nameserver 10.0.0.1\nnameserver fd00::1\ndomain a.test\nsearch b.test c.test\noptions ndots:5\n"},
		{&sandboxpb.ConfigureDnsRequest{Nameservers: []string{"10.0.0.1\nx"}}, ""},
		{&sandboxpb.ConfigureDnsRequest{SearchDomains: []string{"a b"}}, ""},
		{&sandboxpb.ConfigureDnsRequest{Options: []string{""}}, ""},
	} {
		got, err := resolvConf(c.req)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%v: %q %v", c.req, got, err)
		}
	}
}

func TestHostsFile(t *testing.T) {
	type entry = sandboxpb.ConfigureHostsRequest_HostsEntry
	for _, c := range []struct {
		req  *sandboxpb.ConfigureHostsRequest
		want string // "": it is refused
	}{
		{&sandboxpb.ConfigureHostsRequest{Comment: proto.String("two\nlines"), Entries: []*entry{
			{IpAddress: "127.0.0.1", Hostnames: []string{"localhost"}},
			{IpAddress: "::1", Hostnames: []string{"a", "b"}, Comment: proto.String("as\nsaid")},
		}}, "# two\n# lines\n127.0.0.1\tlocalhost\n::1\ta b # as said\n"},
		{&sandboxpb.ConfigureHostsRequest{Entries: []*entry{{IpAddress: "x", Hostnames: []string{"a"}}}}, ""},
		{&sandboxpb.ConfigureHostsRequest{Entries: []*entry{{IpAddress: "::1"}}}, ""},
		{&sandboxpb.ConfigureHostsRequest{Entries: []*entry{{IpAddress: "::1", Hostnames: []string{"a\n::2 b"}}}}, ""},
	} {
		got, err := hostsFile(c.req)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%v: %q %v", c.req, got, err)
		}
	}
}

func TestCgroupFiles(t *testing.T) {
	for text, want := range map[string]uint64{"max\n": math.MaxUint64, "12\n": 12, "": 0, "x": 0} {
		if got := parseLimit(text); got != want {
			t.Errorf("limit %q: %d", text, got)
		}
	}
	if diff := cmp.Diff(map[string]uint64{"a": 1, "b": 2}, parseKeyed("a 1\nb 2\nodd\n")); diff != "" {
		t.Error(diff)
	}
	io := parseIO("8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n254:0 \nodd\n")
	want := []*sandboxpb.BlockIOEntry{
		{Major: 8, Minor: 16, ReadBytes: 1, WriteBytes: 2, ReadOperations: 3, WriteOperations: 4}, {Major: 254},
	}
	if diff := cmp.Diff(want, io, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	network := parseNetwork(`Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       9       9    9    0    0     0          0         0        9       9    9    0    0     0       0          0
  eth0:    1000      20    3    4    0     0          0         0     5000      60    7    8    0     0       0          0
`)
	if diff := cmp.Diff([]*sandboxpb.NetworkStats{{
		Interface: "eth0", ReceivedBytes: 1000, ReceivedPackets: 20, ReceivedErrors: 3,
		TransmittedBytes: 5000, TransmittedPackets: 60, TransmittedErrors: 7,
	}}, network, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

// FuzzParse: whatever the kernel says, no parser panics.
func FuzzParse(f *testing.F) {
	f.Add("8:16 rbytes=1 wbytes=2\neth0: 1 2 3 4 5 6 7 8 9 10 11\na 1\n")
	f.Fuzz(func(_ *testing.T, text string) {
		parseIO(text)
		parseNetwork(text)
		memoryStats(parseKeyed(text))
	})
}
