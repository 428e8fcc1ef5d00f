// Package driver says what firkin-reconcile needs from something that runs
// virtual machines. It knows machines, not pods.
//
// Two layers: a VMM runs one machine as part of the calling process' life (qemu,
// vz, sim); a Driver makes machines that outlive the caller and finds them again
// (shim, over any VMM; sim, in memory). drivertest holds the conformance suite.
package driver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"google.golang.org/grpc"
)

// Errors a caller decides on.
var (
	// ErrNotFound: there is no such machine or disk.
	ErrNotFound = errors.New("not found")
	// ErrNotRunning: the machine exists and is proven dead.
	ErrNotRunning = errors.New("machine is not running")
	// ErrUnreachable: the machine exists and does not answer; it may well be running.
	ErrUnreachable = errors.New("machine does not answer")
	// ErrTransient marks a failure that may go away when tried again unchanged.
	ErrTransient = errors.New("transient")
	// ErrUnsupported: this driver cannot do that on this host.
	ErrUnsupported = errors.New("not supported")
)

// StoreDisk is the id of the disk that holds a machine's own data.
const StoreDisk = "store"

// Spec is everything needed to boot a machine, and to explain it later.
type Spec struct {
	// ID is a UUID; the guest confirms it.
	ID string `json:"id"`
	// Name is for people (the pod's namespace/name).
	Name string `json:"name"`
	// CPUs >= 1; MemoryBytes is a multiple of 1 MiB.
	CPUs        int   `json:"cpus"`
	MemoryBytes int64 `json:"memoryBytes"`
	// StoreBytes is the size of the machine's store disk: made sparse and ext4
	// formatted by the driver at creation, kept until Delete.
	StoreBytes int64 `json:"storeBytes"`
	// Guest is what to boot.
	Guest Guest `json:"guest"`
	// Disks are further disks to attach at boot.
	Disks []Disk `json:"disks,omitempty"`
	// Network is the machine's place in the machines' network; the zero value is no network.
	Network Network `json:"network,omitzero"`
	// Shares are directories and files of the host that the guest can mount.
	Shares []Share `json:"shares,omitempty"`
	// Untrusted: the machine runs code that may attack it; where machines are no boundary, it is
	// not started (ErrUnsupported).
	Untrusted bool `json:"untrusted,omitempty"`
	// Annotations are kept with the machine and returned by Info; the driver does not read them.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Guest is a guest bundle on the host: kernel and initramfs.
type Guest struct {
	Kernel string `json:"kernel"`
	Initrd string `json:"initrd"`
	// Version is the bundle's content hash.
	Version string `json:"version"`
	// Arch is a GOARCH, "" the host's.
	Arch string `json:"arch,omitempty"`
	// SandboxPort is the vsock port on which the guest serves the sandbox contract as plain
	// gRPC; it has no link then. 0: it is reached over the link.
	SandboxPort uint32 `json:"sandboxPort,omitempty"`
}

// Disk is a raw disk image on the host. ID is at most 20 characters of [A-Za-z0-9-]
// and is what the guest finds the disk by (its serial number).
type Disk struct {
	ID       string `json:"id"`
	Path     string `json:"path"`
	ReadOnly bool   `json:"readOnly"`
}

// Network is a machine's place in the network that all machines of a driver share.
type Network struct {
	// Enabled: the machine has a network card.
	Enabled bool `json:"enabled,omitempty"`
	// Address is the machine's own, with the network's prefix length. The driver gives a
	// free one at creation; what the caller puts here is ignored.
	Address netip.Prefix `json:"address,omitzero"`
	// Names are those that other machines find it by, fully qualified ("web.default").
	Names []string `json:"names,omitempty"`
	// Domain is what a name without a dot is looked up in ("default").
	Domain string `json:"domain,omitempty"`
	// Ports are opened on the host and lead into the machine. One that is taken fails the boot.
	Ports []Port `json:"ports,omitempty"`
}

// Port is a port of the host that leads into a machine.
type Port struct {
	Protocol string `json:"protocol"` // "tcp" or "udp"
	// HostIP is where the host listens; the zero value is on all its addresses.
	HostIP   netip.Addr `json:"hostIP,omitzero"`
	HostPort uint16     `json:"hostPort"`
	Port     uint16     `json:"port"`
}

// Share is a directory or a single file of the host. The driver says ErrUnsupported where
// it cannot share.
type Share struct {
	// Name is at most 63 characters of [a-z0-9-]; the guest finds the share by it.
	Name string `json:"name"`
	Path string `json:"path"` // absolute, existing
	File bool   `json:"file,omitempty"`
	// ReadOnly keeps the guest from writing, whatever it says itself.
	ReadOnly bool `json:"readOnly,omitempty"`
}

// State of a machine.
type State string

// The states of a machine.
const (
	StateRunning State = "running"
	// StateStopped: proven dead; can be started again on its store.
	StateStopped State = "stopped"
	// StateUnknown: neither answering nor proven dead.
	StateUnknown State = "unknown"
)

// Info is what a driver knows about a machine.
type Info struct {
	Spec  Spec
	State State
	// Message explains State in words ("qemu exited with status 1: ...").
	Message string
	// Driver and Accelerator name what runs it ("qemu", "tcg").
	Driver      string
	Accelerator string
	// StartedAt is when it was last started.
	StartedAt time.Time
	// HolderPID and VMMPID are host processes, 0 when there is none.
	HolderPID int
	VMMPID    int
	// StorePath is the host file of the store, "" when there is none.
	StorePath string
	// StoreHostBytes is what the store occupies on the host.
	StoreHostBytes int64
	// LogDir holds container logs, "" when there is none.
	LogDir string
	// ConsolePath is the guest's console log, "" when there is none.
	ConsolePath string
	// Gateway is the address of the machines' gateway and name server; the zero value when
	// Spec.Network is not enabled. MAC is the hardware address the machine's card must have.
	Gateway netip.Addr
	MAC     string
}

// Driver makes machines that outlive the caller and finds them again.
type Driver interface {
	// Create makes a machine and boots it; it returns once the guest agent answers.
	// On any failure nothing is left behind and the cause is returned. Creating an
	// ID that exists is an error.
	Create(ctx context.Context, spec Spec) (Machine, error)
	// Machines lists every machine there is, whatever its state, sorted by ID. An
	// error means that the list is not known.
	Machines(ctx context.Context) ([]Machine, error)
	// Close lets go of connections. Machines live on.
	Close() error
}

// Machine is one virtual machine.
type Machine interface {
	ID() string
	// Info asks the machine's holder; it never fails for a machine that is down or
	// silent (State says so), only when nothing can be told about it at all.
	Info(ctx context.Context) (Info, error)
	// Agent is the connection to the guest agent. It reconnects by itself; calls fail
	// with codes.Unavailable while the machine is down.
	Agent() grpc.ClientConnInterface
	// AttachDisk makes a disk visible in the running guest. Attaching the same disk
	// twice is fine.
	AttachDisk(ctx context.Context, d Disk) error
	// DetachDisk takes it away; a disk that is not there is fine.
	DetachDisk(ctx context.Context, id string) error
	// Start boots a stopped machine on its store again; returns once the agent
	// answers. A running machine is left alone.
	Start(ctx context.Context) error
	// Stop powers the machine off: in order by the agent, by force when ctx ends
	// first. It returns nil only when the machine is proven dead. A stopped machine is fine.
	Stop(ctx context.Context) error
	// Delete stops the machine by force and removes everything it had. A second
	// Delete is fine.
	Delete(ctx context.Context) error
}

// VMM runs virtual machines as part of the calling process' life.
type VMM interface {
	// Name is the driver's name ("qemu").
	Name() string
	// Start boots a machine. dir is the machine's own directory, where the VMM may
	// put sockets and its console log. card is the far end of the machine's network card, a
	// datagram socket that carries one Ethernet frame a message; nil when there is none. The
	// VMM does not close it.
	Start(ctx context.Context, spec Spec, dir string, card *os.File) (VM, error)
}

// VM is a machine held by this process.
type VM interface {
	// Link is a new connection to the guest's byte link; the one before it is dead.
	Link(ctx context.Context) (net.Conn, error)
	// Accelerator is "kvm", "tcg", "hvf" or "vz".
	Accelerator() string
	// PID is the VMM's process, 0 when it is this one.
	PID() int
	AttachDisk(ctx context.Context, d Disk) error
	DetachDisk(ctx context.Context, id string) error
	// Kill ends the machine at once. It may be called more than once.
	Kill() error
	// Done is closed when the machine has ended; Err then says how (nil: powered off).
	Done() <-chan struct{}
	Err() error
}

// Check is one line of a doctor's report.
type Check struct {
	Name string
	// OK is false when something is missing; Fatal when nothing runs without it.
	OK    bool
	Fatal bool
	// Detail says what was found; Remedy what to do about it.
	Detail string
	Remedy string
}
