package vz

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/sim"
)

// fake stands in for the framework: its machines are simulated guests.
type fake struct {
	mac host
	log logr.Logger
}

// mac is a Mac as there are many.
func mac() host {
	return host{minCPUs: 1, maxCPUs: 10, minMemory: 128 << 20, maxMemory: 16 << 30, major: macOSHotPlug}
}

func (f fake) host() (host, error) { return f.mac, nil }

// errBadKernel is what the framework says of a kernel it cannot load.
var errBadKernel = errors.New("kernel cannot be loaded")

func (f fake) create(c config) (machine, error) {
	if strings.HasSuffix(c.kernel, ".missing") {
		return nil, errBadKernel
	}
	return &fakeMachine{config: c, log: f.log, end: make(chan error, 1)}, nil
}

type fakeMachine struct {
	config config
	log    logr.Logger
	guest  driver.VM
	end    chan error
}

func (m *fakeMachine) start() error {
	spec := driver.Spec{StoreBytes: 64 << 20}
	for _, d := range m.config.disks[1:] {
		spec.Disks = append(spec.Disks, driver.Disk{ID: d.id, Path: d.path, ReadOnly: d.readOnly})
	}
	guest, err := sim.NewVMM(sim.Options{Log: m.log}).Start(context.Background(), spec, filepath.Dir(m.config.console), nil)
	if err != nil {
		return err
	}
	m.guest = guest
	go func() {
		<-guest.Done()
		m.end <- guest.Err()
	}()
	return nil
}

func (m *fakeMachine) stop() error { return m.guest.Kill() }

func (m *fakeMachine) connect(port uint32) (net.Conn, error) {
	if port != LinkPort {
		return nil, fmt.Errorf("connection to port %d was reset", port)
	}
	return m.guest.Link(context.Background())
}

func (m *fakeMachine) plug(d disk) error {
	return m.guest.AttachDisk(context.Background(), driver.Disk{ID: d.id, Path: d.path, ReadOnly: d.readOnly})
}

func (m *fakeMachine) unplug(id string) error { return m.guest.DetachDisk(context.Background(), id) }

func (m *fakeMachine) ended() <-chan error { return m.end }
