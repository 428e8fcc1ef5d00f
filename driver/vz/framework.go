package vz

import "net"

// framework is what is used of Virtualization.framework; a fake of it stands in for tests.
type framework interface {
	// host says what this Mac allows; an error where there is no such framework.
	host() (host, error)
	// create makes a machine that is not started yet.
	create(config) (machine, error)
}

// machine is one VZVirtualMachine. Its calls may come from any goroutine: the framework's
// binding runs each on the machine's own queue.
type machine interface {
	start() error
	// stop ends the machine at once.
	stop() error
	// connect opens a vsock connection to a port of the guest; an error while nobody listens.
	connect(port uint32) (net.Conn, error)
	// plug and unplug a disk at run time, as a USB mass storage device.
	plug(disk) error
	unplug(id string) error
	// ended gives one value when the machine has stopped: nil after a power-off.
	ended() <-chan error
}

// host is what a Mac allows, in the framework's own words.
type host struct {
	minCPUs, maxCPUs     uint
	minMemory, maxMemory uint64 // bytes
	// major is the version of macOS (15).
	major int
}

// Versions of macOS that brought what is used where it is there.
const (
	// macOSBlockID names virtio disks (12.3; 13 is the first whole version).
	macOSBlockID = 13
	// macOSHotPlug attaches USB mass storage to a running machine.
	macOSHotPlug = 15
)
