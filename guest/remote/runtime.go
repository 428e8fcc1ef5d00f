package remote

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// callLimit bounds a call that nobody else bounds.
const callLimit = 10 * time.Second

// Ports of streams are chosen at random from firstPort on, so that no other process of the guest
// can guess them where it could use them.
const (
	firstPort = 1 << 20
	portRange = 1 << 31
)

// newPort is a port that no other stream has, as good as certainly.
func newPort() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails
	return firstPort + binary.BigEndian.Uint32(b[:])%portRange
}

// Options of a Runtime.
type Options struct {
	// BootID is the guest's word for its boot; a Runtime is for one.
	BootID string
	// State is what an earlier boot's Runtime had for State, nil for none.
	State []byte
	// PowerOff ends the machine, whose file systems are written by then: the contract has no call for it.
	PowerOff func() error
	Log      logr.Logger
}

// Runtime implements agent.Runtime over the contract. It works while a session is attached, and
// waits for the next one where what it does is not lost with a session.
type Runtime struct {
	opt   Options
	execs atomic.Uint64
	// mounting holds one token: who has it mounts or unmounts a template, or the store.
	mounting chan struct{}
	closed   chan struct{}
	wg       sync.WaitGroup

	mu         sync.Mutex
	session    *session      // nil: none
	attached   chan struct{} // closed and replaced when session is set
	state      []byte
	opened     bool // the store is mounted
	podDir     string
	hostname   string
	network    *agentpb.NetworkConfig
	dirs       map[string]bool // emptyDirs; true: in memory
	templates  map[string]int  // users, by disk
	containers map[string]*container
}

var _ agent.Runtime = (*Runtime)(nil)

// session is one attachment to the guest.
type session struct {
	sandboxpb.SandboxContextClient
	streams Streams
}

func newSession(conn grpc.ClientConnInterface, streams Streams) *session {
	return &session{SandboxContextClient: sandboxpb.NewSandboxContextClient(conn), streams: streams}
}

// container is one that Prepare made.
type container struct {
	id, dir string
	disk    string // "": it is on none
	spec    *specs.Spec
	stdin   bool
	message bool // it has a file for its last words
	made    bool // the guest was told of it, and may know it
}

// New makes the Runtime of one boot of a guest. Close ends its goroutines.
func New(opt Options) *Runtime {
	return &Runtime{
		opt: opt, state: opt.State, mounting: make(chan struct{}, 1), closed: make(chan struct{}), attached: make(chan struct{}),
		dirs: map[string]bool{}, templates: map[string]int{}, containers: map[string]*container{},
	}
}

// Attach has the Runtime use a session, in the place of the one before.
func (r *Runtime) Attach(conn grpc.ClientConnInterface, streams Streams) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session = newSession(conn, streams)
	close(r.attached)
	r.attached = make(chan struct{})
}

// Detach says that the session is over.
func (r *Runtime) Detach() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session = nil
}

// Close ends the wait for all processes; what runs in the guest is left as it is. The session's
// connection must be closed by then, or soon.
func (r *Runtime) Close() {
	r.Detach()
	close(r.closed)
	r.wg.Wait()
}

// State is what was saved last.
func (r *Runtime) State() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// now is the session that there is.
func (r *Runtime) now() (*session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session == nil {
		return nil, noSession()
	}
	return r.session, nil
}

// await waits until there is a session.
func (r *Runtime) await(ctx context.Context) (*session, error) {
	for {
		r.mu.Lock()
		s, attached := r.session, r.attached
		r.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-attached:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// untilClosed is a context that ends when the Runtime is closed.
func (r *Runtime) untilClosed() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	r.wg.Go(func() {
		defer cancel()
		select {
		case <-r.closed:
		case <-ctx.Done():
		}
	})
	return ctx, cancel
}

// exclusive runs do while no other call mounts or unmounts a disk.
func (r *Runtime) exclusive(ctx context.Context, do func() error) error {
	select {
	case r.mounting <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-r.mounting }()
	return do()
}

// BootID implements agent.Runtime.
func (r *Runtime) BootID() string { return r.opt.BootID }

// LoadState implements agent.Runtime.
func (r *Runtime) LoadState(context.Context) ([]byte, error) { return r.State(), nil }

// SaveState implements agent.Runtime. It outlives a boot of the machine and not its holder.
func (r *Runtime) SaveState(_ context.Context, data []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = data
	return nil
}

// SetTime implements agent.Runtime.
func (r *Runtime) SetTime(t time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	s, err := r.now()
	if err == nil {
		_, err = s.SandboxContextClient.SetTime(ctx, &sandboxpb.SetTimeRequest{Sec: t.Unix(), Usec: int32(t.Nanosecond() / 1000)})
	}
	return failed(err, "set clock")
}

// PowerOff implements agent.Runtime. What is still on its way to a disk is written first, best effort.
func (r *Runtime) PowerOff() error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	if s, err := r.now(); err == nil {
		if _, err := s.Sync(ctx, &sandboxpb.SyncRequest{}); err != nil {
			r.opt.Log.Info("guest not synced", "cause", err.Error())
		}
	}
	return r.opt.PowerOff()
}
