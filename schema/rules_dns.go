package schema

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Kubernetes' bounds of resolv.conf.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

// dnsRules are those of dnsPolicy and dnsConfig.
func (d document) dnsRules(s *podSpec, p fieldPath) {
	at := p.key("dnsConfig")
	if s.DNSPolicy == "None" {
		switch {
		case s.DNSConfig == nil:
			d.invalid(at, "required: must provide `dnsConfig` when `dnsPolicy` is None")
			return
		case len(s.DNSConfig.Nameservers) == 0:
			d.invalid(at.key("nameservers"), "required: must provide at least one DNS nameserver when `dnsPolicy` is None")
		}
	}
	if s.DNSConfig == nil {
		return
	}
	if len(s.DNSConfig.Nameservers) > maxNameservers {
		d.invalid(at.key("nameservers"), "must not have more than %d nameservers", maxNameservers)
	}
	for i, ip := range s.DNSConfig.Nameservers {
		d.ip(ip, at.key("nameservers").index(i))
	}
	if n := len(s.DNSConfig.Searches); n > maxSearches || len(strings.Join(s.DNSConfig.Searches, " ")) > maxSearchChars {
		d.invalid(at.key("searches"), "must not have more than %d search paths or %d characters", maxSearches, maxSearchChars)
	}
	for i, search := range s.DNSConfig.Searches {
		if search != "." {
			name := strings.TrimSuffix(search, ".")
			d.all(at.key("searches").index(i), search, validation.IsDNS1123SubdomainWithUnderscore(name))
		}
	}
	for i, o := range s.DNSConfig.Options {
		if strings.ContainsAny(o.Name, " \t\n") || o.Value != nil && strings.ContainsAny(*o.Value, " \t\n") {
			d.invalid(at.key("options").index(i), "must not contain white space")
		}
	}
}
