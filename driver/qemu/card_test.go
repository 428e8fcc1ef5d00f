package qemu

import (
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

func TestCardArguments(t *testing.T) {
	on := driver.Spec{Network: driver.Network{Enabled: true}}
	placed := driver.Spec{Network: driver.Network{Enabled: true, Address: netip.MustParsePrefix("10.99.1.2/16")}}
	for name, c := range map[string]struct {
		spec driver.Spec
		fds  inherited
		from origin
		want []string
	}{
		"no network": {driver.Spec{}, inherited{card: 7}, origin{}, nil},
		"card": {on, inherited{card: 7}, origin{}, []string{
			"-netdev", "dgram,id=card,local.type=fd,local.str=7", "-device", "virtio-net-device,host_mtu=65520,guest_announce=off,netdev=card",
		}},
		"a machine with an address": {placed, inherited{card: 7}, origin{}, []string{
			"-netdev", "dgram,id=card,local.type=fd,local.str=7", "-device", "virtio-net-device,host_mtu=65520,guest_announce=off,mac=5a:94:0a:63:01:02,netdev=card",
		}},
		"a copy with an address": {placed, inherited{card: 7}, origin{state: os.Stdin}, []string{
			"-netdev", "dgram,id=card,local.type=fd,local.str=7", "-device", "virtio-net-device,host_mtu=65520,guest_announce=off,netdev=card",
		}},
		// The device of a prototype is the one of its copies.
		"prototype": {on, inherited{}, origin{}, []string{"-device", "virtio-net-device,host_mtu=65520,guest_announce=off"}},
	} {
		if diff := cmp.Diff(c.want, cardArguments(c.spec, c.fds, c.from)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
