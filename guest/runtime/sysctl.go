package runtime

import (
	"fmt"
	"path"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
)

// sysctlDir is where the kernel's settings are.
const sysctlDir = "/proc/sys"

// sysctlPath is the file of a sysctl: "net.ipv4.ip_forward", or the same with slashes
// where a component has dots in it ("net/ipv4/conf/eth0.1/forwarding").
func sysctlPath(name string) (string, error) {
	separated := name
	if first := strings.IndexAny(name, "./"); first >= 0 && name[first] == '.' {
		// Slashes within a name that is separated by dots stand for dots.
		separated = strings.Map(func(r rune) rune {
			switch r {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return r
		}, name)
	}
	for part := range strings.SplitSeq(separated, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
			return "", fmt.Errorf("%w: %q is no name of a sysctl", agent.ErrInvalid, name)
		}
	}
	return path.Join(sysctlDir, separated), nil
}
