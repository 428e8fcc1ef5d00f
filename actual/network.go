package actual

import (
	"bufio"
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

const (
	// clusterDomain ends the names that Kubernetes' DNS would give.
	clusterDomain = "svc.cluster.local"
	// resolvConf is where the host says how it looks names up.
	resolvConf = "/etc/resolv.conf"
	// maxNameservers is how many nameservers a C library asks.
	maxNameservers = 3
)

// machineNetwork is the pod's place in the network of the machines. Others find it as
// <pod>.<namespace> (as <pod> within its namespace) and, with a subdomain, as
// <hostname>.<subdomain>.<namespace>, with and without Kubernetes' usual ending.
func machineNetwork(pod *schema.Pod) (driver.Network, error) {
	n := driver.Network{Enabled: true, Domain: pod.Namespace, Names: []string{pod.Name + "." + pod.Namespace}}
	if long := fqdn(pod); long != "" {
		n.Names = append(n.Names, strings.TrimSuffix(long, "."+clusterDomain), long)
	}
	for _, p := range pod.Network.Ports {
		port := driver.Port{Protocol: strings.ToLower(p.Protocol), HostPort: uint16(p.HostPort), Port: uint16(p.ContainerPort)}
		if p.HostIP != "" {
			ip, err := netip.ParseAddr(p.HostIP)
			if err != nil {
				return driver.Network{}, fmt.Errorf("host port %d: %w", p.HostPort, err)
			}
			port.HostIP = ip
		}
		n.Ports = append(n.Ports, port)
	}
	return n, nil
}

// fqdn is the pod's full name, "" when it has no subdomain.
func fqdn(pod *schema.Pod) string {
	if pod.Network.Subdomain == "" {
		return ""
	}
	return strings.Join([]string{cmp.Or(pod.Hostname, pod.Name), pod.Network.Subdomain, pod.Namespace, clusterDomain}, ".")
}

// hostname is what the machine calls itself.
func hostname(pod *schema.Pod) string {
	if long := fqdn(pod); pod.Network.FQDN && long != "" {
		return long
	}
	return pod.Hostname
}

// networkConfig is what the guest is told of its network card and of looking up names.
func networkConfig(pod *schema.Pod, info driver.Info) *agentpb.NetworkConfig {
	c := &agentpb.NetworkConfig{Fqdn: fqdn(pod)}
	for _, a := range pod.Network.HostAliases {
		c.Hosts = append(c.Hosts, &agentpb.HostAlias{Ip: a.IP, Hostnames: a.Hostnames})
	}
	if n := info.Spec.Network; n.Enabled && n.Address.IsValid() {
		c.Address, c.Mac = n.Address.String(), info.MAC
	}
	if info.Gateway.IsValid() {
		c.Gateway = info.Gateway.String()
	}
	names := lookup{gateway: c.Gateway}
	switch pod.Network.DNSPolicy {
	case "None":
	case "Default":
		names.likeHost(readResolvConf(resolvConf))
	default:
		names.add(schema.DNSConfig{Nameservers: []string{c.Gateway}, Searches: []string{pod.Namespace}})
	}
	names.add(pod.Network.DNS)
	c.Nameservers, c.Searches, c.Options = names.servers, names.searches, names.options
	return c
}

// lookup is what a resolv.conf is made of.
type lookup struct {
	gateway                    string
	servers, searches, options []string
}

// add appends what is not there yet, as Kubernetes does.
func (l *lookup) add(c schema.DNSConfig) {
	for _, s := range c.Nameservers {
		if s != "" && !slices.Contains(l.servers, s) && len(l.servers) < maxNameservers {
			l.servers = append(l.servers, s)
		}
	}
	for _, s := range c.Searches {
		if !slices.Contains(l.searches, s) {
			l.searches = append(l.searches, s)
		}
	}
	for _, o := range c.Options {
		// A later option replaces an earlier one of its name.
		name, _, _ := strings.Cut(o, ":")
		l.options = slices.DeleteFunc(l.options, func(have string) bool { n, _, _ := strings.Cut(have, ":"); return n == name })
		l.options = append(l.options, o)
	}
}

// likeHost takes what the host uses. A server on the host's own loopback cannot be
// reached from a machine; the gateway, which asks the host, stands in for it.
func (l *lookup) likeHost(host schema.DNSConfig) {
	for i, s := range host.Nameservers {
		if ip, err := netip.ParseAddr(s); err != nil || ip.IsLoopback() {
			host.Nameservers[i] = l.gateway
		}
	}
	if len(host.Nameservers) == 0 {
		host.Nameservers = []string{l.gateway}
	}
	l.add(host)
}

// readResolvConf reads a resolv.conf; one that cannot be read says nothing.
func readResolvConf(path string) schema.DNSConfig {
	f, err := os.Open(path)
	if err != nil {
		return schema.DNSConfig{}
	}
	defer f.Close()
	var c schema.DNSConfig
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			c.Nameservers = append(c.Nameservers, words[1])
		case "search", "domain":
			c.Searches = words[1:]
		case "options":
			c.Options = append(c.Options, words[1:]...)
		}
	}
	return c
}
