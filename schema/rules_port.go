package schema

import (
	"net/netip"

	"k8s.io/apimachinery/pkg/util/validation"
)

// portRules are those of the ports of one container.
func (d document) portRules(s *podSpec, ports []portManifest, p fieldPath) {
	names := make(map[string]bool)
	for i, port := range ports {
		at := p.index(i)
		if port.Name != "" {
			d.all(at.key("name"), port.Name, validation.IsValidPortName(port.Name))
			if names[port.Name] {
				d.invalid(at.key("name"), "two ports of this container are named %q", port.Name)
			}
			names[port.Name] = true
		}
		if port.HostIP != "" {
			d.ip(port.HostIP, at.key("hostIP"))
		}
		if s.HostNetwork && port.HostPort != 0 && port.HostPort != port.ContainerPort {
			d.invalid(at.key("containerPort"), "must match `hostPort` (%d) when `hostNetwork` is true, is %d", port.HostPort, port.ContainerPort)
		}
	}
}

// ip demands an address in the usual form.
func (d document) ip(text string, p fieldPath) {
	if a, err := netip.ParseAddr(text); err != nil || a.Zone() != "" {
		d.invalid(p, "%q: must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)", shorten(text))
	}
}
