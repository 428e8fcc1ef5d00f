package ocispec

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func TestGeneratedFiles(t *testing.T) {
	const loopback = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	for name, c := range map[string]struct {
		network *agentpb.NetworkConfig
		want    map[string]string
	}{
		"no network": {nil, map[string]string{
			"/etc/hostname": "web\n", "/etc/hosts": loopback + "127.0.1.1\tweb\n", "/etc/resolv.conf": "# the pod has no network\n",
		}},
		"address": {&agentpb.NetworkConfig{Address: "10.99.0.7/16", Nameservers: []string{"10.99.0.1"}}, map[string]string{
			"/etc/hostname": "web\n", "/etc/hosts": loopback + "10.99.0.7\tweb\n", "/etc/resolv.conf": "nameserver 10.99.0.1\n",
		}},
		"all": {&agentpb.NetworkConfig{
			Address: "10.99.0.7/16", Fqdn: "web.sub.default", Nameservers: []string{"10.99.0.1", "192.0.2.1"},
			Searches: []string{"default", "example.org"}, Options: []string{"ndots:2", "rotate"},
			Hosts: []*agentpb.HostAlias{{Ip: "192.0.2.7", Hostnames: []string{"a", "b.example"}}},
		}, map[string]string{
			"/etc/hostname": "web\n",
			"/etc/hosts": loopback + "10.99.0.7\tweb.sub.default web\n\n# Entries added by the pod's hostAliases.\n" +
				"192.0.2.7\ta b.example\n",
			"/etc/resolv.conf": "nameserver 10.99.0.1\nnameserver 192.0.2.1\nsearch default example.org\noptions ndots:2 rotate\n",
		}},
	} {
		if diff := cmp.Diff(c.want, GeneratedFiles("web", c.network)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
