package vz

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/network"
)

// Names of the files in a machine's directory.
const (
	storeFile   = "store.img"
	consoleFile = "console.log"
)

// mib is the granularity of a machine's memory.
const mib = 1 << 20

// config is a machine as it is asked of the framework.
type config struct {
	kernel, initrd, commandLine string

	cpus    uint
	memory  uint64 // bytes, a multiple of 1 MiB
	disks   []disk // in the order of /dev/vdX
	console string // file that the serial console is written to
	// card is the datagram socket of the network card, nil for none; mac its hardware address.
	card   *os.File
	mac    network.MAC
	shares []share
	// identifier is what the machine is known by to the framework, nil for a new one.
	identifier []byte
	// hotPlug adds the controller that disks of run time hang off.
	hotPlug bool
}

type disk struct {
	id, path string
	readOnly bool
}

type share struct {
	name, path string
	readOnly   bool
}

// plan turns a spec into what is asked of the framework, within the bounds of the host.
// It is a pure function.
func plan(spec driver.Spec, dir string, card *os.File, h host) (config, error) {
	if h.major < macOSBlockID {
		return config{}, fmt.Errorf("macOS %d: %w: macOS %d or newer is needed", h.major, driver.ErrUnsupported, macOSBlockID)
	}
	cpus, err := sizeCPUs(spec.CPUs, h)
	if err != nil {
		return config{}, err
	}
	memory, err := sizeMemory(spec.MemoryBytes, h)
	if err != nil {
		return config{}, err
	}
	c := config{
		kernel:      spec.Guest.Kernel,
		initrd:      spec.Guest.Initrd,
		commandLine: commandLine,
		cpus:        cpus,
		memory:      memory,
		disks:       []disk{{id: driver.StoreDisk, path: filepath.Join(dir, storeFile)}},
		console:     filepath.Join(dir, consoleFile),
		card:        card,
		mac:         network.MACOf(cardAddress(spec)),
		hotPlug:     h.major >= macOSHotPlug,
	}
	for _, d := range spec.Disks {
		c.disks = append(c.disks, disk{id: d.ID, path: d.Path, readOnly: d.ReadOnly})
	}
	for _, s := range spec.Shares {
		if s.File {
			// The framework shares directories only, and the directory of a file holds more.
			return config{}, fmt.Errorf("share %s: %w: a single file", s.Path, driver.ErrUnsupported)
		}
		c.shares = append(c.shares, share{name: s.Name, path: s.Path, readOnly: s.ReadOnly})
	}
	return c, nil
}

// cardAddress is the address that the machine's hardware address says. One that has no
// address yet gets it with its hardware address, by its agent.
func cardAddress(spec driver.Spec) netip.Addr {
	if a := spec.Network.Address; a.IsValid() {
		return a.Addr()
	}
	return network.Subnet().Addr()
}

// commandLine is the guest kernel's. hvc0 is the virtio console, the only serial port there is.
const commandLine = "console=hvc0 quiet panic=-1 cryptomgr.notests random.trust_cpu=on"

func sizeCPUs(want int, h host) (uint, error) {
	switch {
	case want < 1:
		return 0, fmt.Errorf("%d CPUs: at least 1 is needed", want)
	case uint(want) > h.maxCPUs:
		return 0, fmt.Errorf("%d CPUs: this Mac gives a machine at most %d", want, h.maxCPUs)
	}
	return max(uint(want), h.minCPUs), nil
}

func sizeMemory(want int64, h host) (uint64, error) {
	if want < 1 || want%mib != 0 {
		return 0, fmt.Errorf("%d bytes of memory: a multiple of 1 MiB is needed", want)
	}
	if uint64(want) > h.maxMemory {
		return 0, fmt.Errorf("%d MiB of memory: this Mac gives a machine at most %d MiB", want/mib, h.maxMemory/mib)
	}
	least := (h.minMemory + mib - 1) / mib * mib
	return max(uint64(want), least), nil
}
