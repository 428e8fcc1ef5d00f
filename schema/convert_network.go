package schema

// network converts how the pod is found and what it finds.
func (d document) network(s *podSpec, p fieldPath) Network {
	n := Network{
		Subdomain:   s.Subdomain,
		HostAliases: s.HostAliases,
		FQDN:        s.SetHostnameAsFQDN,
	}
	if s.DNSPolicy == "Default" || s.DNSPolicy == "None" {
		n.DNSPolicy = s.DNSPolicy
	}
	if s.DNSConfig != nil {
		n.DNS.Nameservers, n.DNS.Searches = s.DNSConfig.Nameservers, s.DNSConfig.Searches
		for _, o := range s.DNSConfig.Options {
			option := o.Name
			if o.Value != nil && *o.Value != "" {
				option += ":" + *o.Value
			}
			n.DNS.Options = append(n.DNS.Options, option)
		}
	}
	for i := range s.InitContainers {
		n.Ports = append(n.Ports, d.ports(s, s.InitContainers[i].Ports, p.key("initContainers").index(i).key("ports"), make(map[HostPort]bool))...)
	}
	taken := make(map[HostPort]bool)
	for i := range s.Containers {
		n.Ports = append(n.Ports, d.ports(s, s.Containers[i].Ports, p.key("containers").index(i).key("ports"), taken)...)
	}
	n.Ports = unique(n.Ports)
	return n
}

// unique leaves out ports that an init container and a later one both have.
func unique(ports []HostPort) []HostPort {
	var list []HostPort
	seen := make(map[HostPort]bool, len(ports))
	for _, port := range ports {
		if !seen[port] {
			list = append(list, port)
		}
		seen[port] = true
	}
	return list
}

// ports returns the hostPorts of a container. In the host's network every port is one.
func (d document) ports(s *podSpec, ports []portManifest, p fieldPath, taken map[HostPort]bool) []HostPort {
	d.portRules(s, ports, p)
	var list []HostPort
	for i, m := range ports {
		port := HostPort{Protocol: m.Protocol, HostIP: m.HostIP, HostPort: m.HostPort, ContainerPort: m.ContainerPort}
		if port.Protocol == "" {
			port.Protocol = "TCP"
		}
		if s.HostNetwork && port.HostPort == 0 {
			port.HostPort = port.ContainerPort
		}
		if port.HostPort == 0 {
			continue
		}
		key := HostPort{Protocol: port.Protocol, HostIP: port.HostIP, HostPort: port.HostPort}
		if taken[key] {
			d.invalid(p.index(i).key("hostPort"), "two ports of this pod are %s port %d of the host", port.Protocol, port.HostPort)
		}
		if taken[key] = true; port.Protocol == "SCTP" {
			d.report(p.index(i).key("hostPort"), SeverityError, ClassUnsupported, "not supported: ports of the host are TCP or UDP, not SCTP")
			continue
		}
		list = append(list, port)
	}
	return list
}
