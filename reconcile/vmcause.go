package reconcile

import (
	"fmt"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// vmChange says in words what only a new VM can satisfy.
func vmChange(old, new *schema.Pod) string {
	if old == nil {
		return "the VM's settings changed"
	}
	var w words
	note := func(what string, from, to any) {
		w.note(from != to, "%s changed %v -> %v", what, from, to)
	}
	note("CPUs", old.VM.CPUs, new.VM.CPUs)
	note("memory", mebibytes(old.VM.MemoryBytes), mebibytes(new.VM.MemoryBytes))
	note("store size", mebibytes(old.VM.StoreBytes), mebibytes(new.VM.StoreBytes))
	note("untrusted", old.VM.Untrusted, new.VM.Untrusted)
	note("hostname", old.Hostname, new.Hostname)
	note("subdomain", orNone(old.Network.Subdomain), orNone(new.Network.Subdomain))
	note("setHostnameAsFQDN", old.Network.FQDN, new.Network.FQDN)
	note("host ports", portWords(old.Network.Ports), portWords(new.Network.Ports))
	w.note(!sameJSON(old.Network.HostAliases, new.Network.HostAliases), "hostAliases changed")
	note("dnsPolicy", orNone(old.Network.DNSPolicy), orNone(new.Network.DNSPolicy))
	w.note(!sameJSON(old.Network.DNS, new.Network.DNS), "dnsConfig changed")
	note("fsGroup", groupWord(old.Security.FSGroup), groupWord(new.Security.FSGroup))
	note("shareProcessNamespace", old.Security.ShareProcesses, new.Security.ShareProcesses)
	note("hostPID", old.Security.HostPID, new.Security.HostPID)
	w = append(w, sysctlChange(old.Security.Sysctls, new.Security.Sysctls)...)
	w = append(w, hostPathChange(old, new)...)
	if len(w) == 0 {
		return "the VM's settings changed"
	}
	return strings.Join(w, ", ") + ", which only a new VM can satisfy"
}

func mebibytes(n int64) string { return fmt.Sprintf("%dMi", n>>20) }

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func groupWord(g *int64) string {
	if g == nil {
		return "none"
	}
	return fmt.Sprint(*g)
}

// portWords renders host ports as 127.0.0.1:8080:80/TCP.
func portWords(ports []schema.HostPort) string {
	list := make([]string, len(ports))
	for i, p := range ports {
		list[i] = fmt.Sprintf("%d:%d/%s", p.HostPort, p.ContainerPort, p.Protocol)
		if p.HostIP != "" {
			list[i] = p.HostIP + ":" + list[i]
		}
	}
	return orNone(strings.Join(list, " "))
}

// sysctlChange names the kernel parameters that differ.
func sysctlChange(old, new []schema.Sysctl) (w words) {
	find := func(list []schema.Sysctl, name string) string {
		for _, s := range list {
			if s.Name == name {
				return s.Value
			}
		}
		return "none"
	}
	for _, s := range new {
		was := find(old, s.Name)
		w.note(was != s.Value, "sysctl %s changed %s -> %s", s.Name, was, s.Value)
	}
	for _, s := range old {
		w.note(find(new, s.Name) == "none", "sysctl %s changed %s -> none", s.Name, s.Value)
	}
	return w
}

// hostPathChange names the directories of the host that differ.
func hostPathChange(old, new *schema.Pod) (w words) {
	for i := range new.Volumes {
		v := &new.Volumes[i]
		was := old.Volume(v.Name)
		switch {
		case v.HostPath == nil:
		case was == nil || was.HostPath == nil:
			w.note(true, "hostPath volume %s added", v.Name)
		case *was.HostPath != *v.HostPath:
			w.note(true, "hostPath volume %s: %s", v.Name, volumeChange(was, v))
		}
	}
	for i := range old.Volumes {
		v := &old.Volumes[i]
		now := new.Volume(v.Name)
		w.note(v.HostPath != nil && (now == nil || now.HostPath == nil), "hostPath volume %s removed", v.Name)
	}
	return w
}
