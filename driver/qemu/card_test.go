package qemu

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

func TestCardArguments(t *testing.T) {
	on := driver.Spec{Network: driver.Network{Enabled: true}}
	for name, c := range map[string]struct {
		spec driver.Spec
		fds  inherited
		want []string
	}{
		"no network": {driver.Spec{}, inherited{card: 7}, nil},
		"card": {on, inherited{card: 7}, []string{
			"-netdev", "dgram,id=card,local.type=fd,local.str=7", "-device", "virtio-net-device,host_mtu=65520,guest_announce=off,netdev=card",
		}},
		// The device of a prototype is the one of its copies.
		"prototype": {on, inherited{}, []string{"-device", "virtio-net-device,host_mtu=65520,guest_announce=off"}},
	} {
		if diff := cmp.Diff(c.want, cardArguments(c.spec, c.fds)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
