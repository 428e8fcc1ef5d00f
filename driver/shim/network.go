package shim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/network"
	"github.com/firkin-dev/firkin-reconcile/network/registry"
	"github.com/firkin-dev/firkin-reconcile/network/stack"
)

// networkOf is the registry of the machines in dir.
func networkOf(dir string) registry.Registry {
	return registry.Registry{Dir: dir, Live: func(id string) bool { return machineLives(dir, id) }}
}

// machineLives tells whether there is a machine, or one that is being made: that has its
// directory under another name before it has its own.
func machineLives(dir, id string) bool {
	final := filepath.Join(dir, id)
	if exists(final) {
		return true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return true // not known to be gone
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix+id+"-") {
			return true
		}
	}
	return exists(final) // it may have got its name meanwhile
}

func owner(spec driver.Spec) registry.Owner {
	return registry.Owner{ID: spec.ID, Name: spec.Name, Names: spec.Network.Names}
}

// join gives a machine that is being made its address.
func (d *Driver) join(ctx context.Context, spec *driver.Spec) error {
	spec.Network.Address = netip.Prefix{}
	if !spec.Network.Enabled {
		return nil
	}
	addr, err := networkOf(d.opt.Dir).Reserve(ctx, owner(*spec))
	if err != nil {
		return fmt.Errorf("join the network: %w", err)
	}
	spec.Network.Address = netip.PrefixFrom(addr, network.Subnet().Bits())
	return nil
}

// leave frees the address of a machine that is gone. What is not freed is so when the
// address is needed.
func (d *Driver) leave(ctx context.Context, spec driver.Spec) {
	if !spec.Network.Enabled {
		return
	}
	if err := networkOf(d.opt.Dir).Release(ctx, owner(spec), spec.Network.Address.Addr()); err != nil {
		d.opt.Log.Error(err, "machine's address not freed", "machine", spec.ID)
	}
}

// addNetwork adds what follows from a machine's address.
func addNetwork(info *driver.Info) {
	n := info.Spec.Network
	if !n.Enabled || !n.Address.IsValid() {
		return
	}
	info.Gateway, info.MAC = network.Gateway(), network.MACOf(n.Address.Addr()).String()
}

// openNetwork puts the machine's gateway to work; nil when it has no network.
func (h *holder) openNetwork(ctx context.Context) (*stack.Stack, error) {
	n := h.spec.Network
	if !n.Enabled {
		return nil, nil
	}
	if !network.IsMachine(n.Address.Addr()) {
		return nil, fmt.Errorf("open network: the machine has no address in it (%v)", n.Address)
	}
	if err := h.enterNetwork(ctx); err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	machines := networkOf(filepath.Dir(h.opt.Dir))
	s, err := stack.New(stack.Options{
		Address: n.Address.Addr(), Domain: n.Domain, Ports: n.Ports,
		Peers: machines, Socket: registry.OwnSocket(h.opt.Dir), Log: h.opt.Log.WithName("network"),
	})
	var port *stack.PortError
	if errors.As(err, &port) && port.Taken() {
		err = fmt.Errorf("%w: %s has it", err, portHolder(machines.Dir, h.spec.ID, port.Port))
	}
	if err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	return s, nil
}

// enterNetwork enters the machine into the registry; nothing changes unless that was lost.
func (h *holder) enterNetwork(ctx context.Context) error {
	if !h.spec.Network.Enabled {
		return nil
	}
	return networkOf(filepath.Dir(h.opt.Dir)).Keep(ctx, owner(h.spec), h.spec.Network.Address.Addr())
}

// portHolder says who has a port of the host that is taken.
func portHolder(dir, self string, port driver.Port) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "another process"
	}
	for _, e := range entries {
		id := e.Name()
		if _, err := uuid.Parse(id); err != nil || id == self {
			continue
		}
		spec, err := readSpec(filepath.Join(dir, id))
		if err != nil || !opens(spec.Network.Ports, port) {
			continue
		}
		if idle, err := free(filepath.Join(dir, id)); err == nil && !idle {
			return "pod " + spec.Name
		}
	}
	return "another process of this host"
}

// opens tells whether one of ports keeps p from being opened.
func opens(ports []driver.Port, p driver.Port) bool {
	for _, have := range ports {
		overlap := !have.HostIP.IsValid() || !p.HostIP.IsValid() || have.HostIP == p.HostIP ||
			have.HostIP.Is4() == p.HostIP.Is4() && (have.HostIP.IsUnspecified() || p.HostIP.IsUnspecified())
		if overlap && have.Protocol == p.Protocol && have.HostPort == p.HostPort {
			return true
		}
	}
	return false
}
