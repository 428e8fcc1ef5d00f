package runtime

import (
	"errors"
	"strings"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
)

func TestSysctlPath(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.ip_forward":               "/proc/sys/net/ipv4/ip_forward",
		"net/ipv4/ip_forward":               "/proc/sys/net/ipv4/ip_forward",
		"net/ipv4/conf/eth0.1/forwarding":   "/proc/sys/net/ipv4/conf/eth0.1/forwarding",
		"net.ipv4.conf.eth0/1.forwarding":   "/proc/sys/net/ipv4/conf/eth0.1/forwarding",
		"kernel.shm_rmid_forced":            "/proc/sys/kernel/shm_rmid_forced",
		"":                                  "",
		".":                                 "",
		"..":                                "",
		"net..ipv4":                         "",
		"net/../../self/oom_score_adj":      "",
		"net.//.self":                       "",
		"/kernel/hostname":                  "",
		"kernel/":                           "",
		"kernel\x00hostname":                "",
		"net/./ipv4":                        "",
		"../kernel/hostname":                "",
		"user.max_user_namespaces":          "/proc/sys/user/max_user_namespaces",
		"fs.mqueue.msg_max":                 "/proc/sys/fs/mqueue/msg_max",
		"net.ipv4.ip_unprivileged_port_min": "/proc/sys/net/ipv4/ip_unprivileged_port_min",
	} {
		got, err := sysctlPath(name)
		if got != want || (want == "") != errors.Is(err, agent.ErrInvalid) {
			t.Errorf("%q: %q, %v; want %q", name, got, err, want)
		}
	}
}

func FuzzSysctlPath(f *testing.F) {
	for _, s := range []string{"net.ipv4.ip_forward", "net/ipv4", "..", "a./b", "a/./b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := sysctlPath(name)
		if err == nil && (!strings.HasPrefix(got, sysctlDir+"/") || strings.Contains(got+"/", "/../") || strings.ContainsRune(got, 0)) {
			t.Errorf("%q: %q", name, got)
		}
	})
}
