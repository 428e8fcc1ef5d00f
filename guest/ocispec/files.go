package ocispec

import (
	"strings"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// GeneratedFiles are the files that every container gets, by the path it sees them at.
func GeneratedFiles(hostname string, n *agentpb.NetworkConfig) map[string]string {
	return map[string]string{
		"/etc/hostname":    hostname + "\n",
		"/etc/hosts":       hostsFile(hostname, n),
		"/etc/resolv.conf": resolvConf(n),
	}
}

// hostsFile is the pod's /etc/hosts: loopback, itself, and what the pod adds.
func hostsFile(hostname string, n *agentpb.NetworkConfig) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	own, _, _ := strings.Cut(n.GetAddress(), "/")
	if own == "" {
		own = "127.0.1.1"
	}
	names := []string{hostname}
	if n.GetFqdn() != "" && n.GetFqdn() != hostname {
		names = []string{n.GetFqdn(), hostname}
	}
	writeHost(&b, own, names)
	if len(n.GetHosts()) > 0 {
		b.WriteString("\n# Entries added by the pod's hostAliases.\n")
	}
	for _, h := range n.GetHosts() {
		writeHost(&b, h.GetIp(), h.GetHostnames())
	}
	return b.String()
}

func writeHost(b *strings.Builder, ip string, names []string) {
	b.WriteString(ip + "\t" + strings.Join(names, " ") + "\n")
}

// resolvConf is the pod's /etc/resolv.conf.
func resolvConf(n *agentpb.NetworkConfig) string {
	if n.GetAddress() == "" && len(n.GetNameservers()) == 0 {
		return "# the pod has no network\n"
	}
	var b strings.Builder
	for _, s := range n.GetNameservers() {
		b.WriteString("nameserver " + s + "\n")
	}
	if len(n.GetSearches()) > 0 {
		b.WriteString("search " + strings.Join(n.GetSearches(), " ") + "\n")
	}
	if len(n.GetOptions()) > 0 {
		b.WriteString("options " + strings.Join(n.GetOptions(), " ") + "\n")
	}
	return b.String()
}
