package sandbox

import (
	"net/netip"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// resolvConf is the text of etc/resolv.conf.
func resolvConf(req *sandboxpb.ConfigureDnsRequest) (string, error) {
	var b strings.Builder
	for _, server := range req.GetNameservers() {
		if _, err := netip.ParseAddr(server); err != nil {
			return "", invalid("name server: %v", err)
		}
		b.WriteString("nameserver " + server + "\n")
	}
	for _, line := range []struct {
		key   string
		words []string
	}{
		{"domain", words(req.GetDomain())}, {"search", req.GetSearchDomains()}, {"options", req.GetOptions()},
	} {
		if len(line.words) == 0 {
			continue
		}
		for _, w := range line.words {
			if !isWord(w) {
				return "", invalid("%s %q is not one word", line.key, w)
			}
		}
		b.WriteString(line.key + " " + strings.Join(line.words, " ") + "\n")
	}
	return b.String(), nil
}

// hostsFile is the text of etc/hosts.
func hostsFile(req *sandboxpb.ConfigureHostsRequest) (string, error) {
	var b strings.Builder
	if c := req.GetComment(); c != "" {
		for line := range strings.Lines(c) {
			b.WriteString("# " + strings.TrimRight(line, "\r\n") + "\n")
		}
	}
	for _, e := range req.GetEntries() {
		if _, err := netip.ParseAddr(e.GetIpAddress()); err != nil {
			return "", invalid("host: %v", err)
		}
		if len(e.GetHostnames()) == 0 {
			return "", invalid("no names for %s", e.GetIpAddress())
		}
		for _, name := range e.GetHostnames() {
			if !isWord(name) || strings.ContainsRune(name, '#') {
				return "", invalid("host name %q is not one word", name)
			}
		}
		b.WriteString(e.GetIpAddress() + "\t" + strings.Join(e.GetHostnames(), " "))
		if c := e.GetComment(); c != "" {
			b.WriteString(" # " + strings.Join(strings.Fields(c), " "))
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}

func words(word string) []string {
	if word == "" {
		return nil
	}
	return []string{word}
}

func isWord(s string) bool { return s != "" && !strings.ContainsAny(s, " \t\r\n\v\f\x00") }
