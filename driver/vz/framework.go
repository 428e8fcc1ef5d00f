package vz

import "net"

// framework is what is used of Virtualization.framework; a fake of it stands in for tests.
type framework interface {
	// host says what this Mac allows; an error where there is no such framework.
	host() (host, error)
	// create makes a machine that is not started yet.
	create(config) (machine, error)
	// newIdentifier makes what no other machine has for an identifier.
	newIdentifier() ([]byte, error)
}

// machine is one VZVirtualMachine. Its calls may come from any goroutine: the framework's
// binding runs each on the machine's own queue.
type machine interface {
	start() error
	// stop ends the machine at once.
	stop() error
	// savable says why the state of machines with this configuration cannot be saved, nil if it can.
	savable() error
	// pause a running machine, and resume one that is paused.
	pause() error
	resume() error
	// save writes the state of a paused machine to a file that is not there yet.
	save(path string) error
	// restore makes a machine that was not started one that is paused, in the state in the
	// file: of a machine with an equal configuration, identifier included, on this Mac. After
	// an error it still is not started.
	restore(path string) error
	// connect opens a vsock connection to a port of the guest; an error while nobody listens.
	connect(port uint32) (net.Conn, error)
	// listen takes the guest's connections to a port of the host. Its Accept need not end with it.
	listen(port uint32) (net.Listener, error)
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
	// major is the version of macOS (15), build its exact build ("24F74").
	major int
	build string
	// saves: this kind of Mac can save the state of machines, given a macOS that can.
	saves bool
}

// Versions of macOS that brought what is used where it is there.
const (
	// macOSBlockID names virtio disks (12.3; 13 is the first whole version).
	macOSBlockID = 13
	// macOSSaves saves and restores the state of machines, on Apple silicon.
	macOSSaves = 14
	// macOSHotPlug attaches USB mass storage to a running machine.
	macOSHotPlug = 15
)
