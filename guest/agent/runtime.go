// Package agent is the pod service of the guest: it knows which containers and
// emptyDirs a pod has and keeps that through crashes, and has a Runtime do the
// work of the system it runs on (guest/runtime on Linux; driver/sim in memory).
package agent

import (
	"context"
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// ErrNotFound says that there is no such container, process, file or volume.
var ErrNotFound = errors.New("not found")

// Runtime is what the agent needs from the system it runs on. Its methods may be
// called concurrently for different containers. It keeps no record of its own that
// the agent depends on, beyond what Prepare and Start made.
type Runtime interface {
	// BootID is unique per boot of the machine.
	BootID() string
	// OpenStore mounts the store disk (formatting a blank one), sets the host name and sysctls,
	// and sets the network up. Idempotent.
	OpenStore(ctx context.Context, req *agentpb.ConfigureRequest) error
	// LoadState returns what SaveState kept last on the store, nil when there is nothing.
	LoadState(ctx context.Context) ([]byte, error)
	// SaveState keeps data on the store, atomically and durably.
	SaveState(ctx context.Context, data []byte) error
	// StoreUsage reports the store's file system.
	StoreUsage(ctx context.Context) (*agentpb.StoreUsage, error)
	// Trim gives free blocks of the store back; the kernel's count of bytes.
	Trim(ctx context.Context) (uint64, error)
	// CloseStore syncs and unmounts the store.
	CloseStore(ctx context.Context) error

	// CreateEmptyDir makes an emptyDir (mode 0777); one that is there is kept as it is.
	// A memory one is a single tmpfs for the pod, with its size limit.
	CreateEmptyDir(ctx context.Context, dir *agentpb.AddEmptyDirRequest) error
	// RemoveEmptyDir deletes it with all it holds; a missing one is fine.
	RemoveEmptyDir(ctx context.Context, name string) error
	// EmptyDirUsage is the number of bytes its files occupy.
	EmptyDirUsage(ctx context.Context, name string) (int64, error)
	// AddVolume makes a volume that is no emptyDir, or changes the files of one that is there,
	// at once for who reads them. Idempotent.
	AddVolume(ctx context.Context, req *agentpb.AddVolumeRequest) error
	// RemoveVolume takes it away (and deletes files); a missing one is fine.
	RemoveVolume(ctx context.Context, name string) error

	// CreateFile opens a file in an emptyDir for writing (0644, parents made), never
	// following a link out of it. path was checked to be relative and clean. Close
	// makes the file appear whole; closing with an error before that leaves nothing.
	CreateFile(ctx context.Context, emptyDir, path string) (AtomicFile, error)
	// OpenFile opens a regular file in an emptyDir for reading, never following a link out of it.
	OpenFile(ctx context.Context, emptyDir, path string) (io.ReadCloser, error)

	// Prepare makes a container's root file system (an overlay over the template) and
	// its OCI bundle. On failure nothing of it is left.
	Prepare(ctx context.Context, id string, spec *agentpb.ContainerSpec) error
	// Start runs a prepared container. Output goes to out as it comes; both writers
	// are the agent's and never block for long. On failure the container is as prepared.
	Start(ctx context.Context, id string, stdout, stderr io.Writer) (Process, error)
	// Exec runs a further process in a running container.
	Exec(ctx context.Context, id string, spec *agentpb.ExecRequest_Start, stdio ExecIO) (ExecProcess, error)
	// TerminationMessage returns the end (at most 4096 bytes) of what the container wrote to its
	// spec's termination_message_path; nil when there is nothing. It is asked before Clean.
	TerminationMessage(ctx context.Context, id string) ([]byte, error)
	// Clean kills what is left of a container, unmounts and removes all of it.
	// Anything missing is fine.
	Clean(ctx context.Context, id string) error
	// CleanAll is Clean for every container there is a trace of (after a crash).
	CleanAll(ctx context.Context) error

	// SetTime sets the machine's clock.
	SetTime(t time.Time) error
	// PowerOff ends the machine. It returns only on failure.
	PowerOff() error
}

// AtomicFile is a file that appears under its name only when committed.
type AtomicFile interface {
	io.Writer
	// Commit makes it durable and gives it its name.
	Commit() error
	// Close abandons it unless it was committed.
	Close() error
}

// Process is a container's first process.
type Process interface {
	PID() int
	// Signal sends sig to the process; one that has ended gives ErrNotFound.
	Signal(sig syscall.Signal) error
	// Kill ends every process of the container.
	Kill() error
	// Done is closed once the process has ended and its output was delivered.
	Done() <-chan struct{}
	// Exit says how it ended; valid once Done is closed.
	Exit() Exit
}

// ExitNotifier is an ability that a Process may have: to have its end told instead of waited
// for, so that no goroutine has to stand by where there are thousands of agents.
type ExitNotifier interface {
	// OnExit calls f once, in a goroutine of its own, when Done is closed.
	OnExit(f func())
}

// ExecProcess is a further process in a container.
type ExecProcess interface {
	Process
	// Resize sets the size of its terminal.
	Resize(rows, columns uint32) error
}

// Exit says how a process ended.
type Exit struct {
	// Code is the exit code, 128+n after signal n.
	Code int
	At   time.Time
	// OOMKilled: the kernel ended it (or a child) for want of memory.
	OOMKilled bool
}

// ExecIO is where a further process' streams go. With a terminal all output comes
// on Stdout.
type ExecIO struct {
	Stdin  io.Reader // nil: none
	Stdout io.Writer
	Stderr io.Writer
}
