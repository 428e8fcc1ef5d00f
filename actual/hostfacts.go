package actual

import (
	"net"
	"net/netip"
	"os"
)

// facts are the values of the downward API that are known only once there is a machine.
type facts struct {
	// podIP is "" for a pod without an address.
	podIP, hostIP, nodeName, uid string
}

// value returns a field of schema.RuntimeFields; false for any other.
func (f facts) value(field string) (string, bool) {
	switch field {
	case "status.podIP", "status.podIPs":
		return f.podIP, true
	case "status.hostIP", "status.hostIPs":
		return f.hostIP, true
	case "spec.nodeName":
		return f.nodeName, true
	case "metadata.uid":
		return f.uid, true
	default:
		return "", false
	}
}

// factsOf returns what containers of the machine can be told.
func (o *Observer) factsOf(m *machine) facts {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := facts{podIP: m.ip(), hostIP: o.hostIP, uid: m.handle.ID()}
	// A host that cannot tell its name has none.
	f.nodeName, _ = os.Hostname()
	return f
}

// ip is the machine's address, "" when it has none.
func (m *machine) ip() string {
	if n := m.info.Spec.Network; n.Enabled && n.Address.IsValid() {
		return n.Address.Addr().String()
	}
	return ""
}

// hostIP is an address of this host that others may know it by: the first IPv4 address
// that is neither loopback nor link-local, else the first such IPv6 address, else
// loopback. The order is that of the host's network cards.
func hostIP() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return loopback
	}
	six := ""
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !prefix.Addr().IsGlobalUnicast() {
			continue
		}
		if ip := prefix.Addr(); ip.Is4() {
			return ip.String()
		} else if six == "" {
			six = ip.String()
		}
	}
	if six != "" {
		return six
	}
	return loopback
}

const loopback = "127.0.0.1"
