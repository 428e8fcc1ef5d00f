package agent

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// Limits of work that is done to its end whatever happens to its caller.
const (
	configureLimit = 2 * time.Minute
	addLimit       = 2 * time.Minute
	cleanLimit     = time.Minute
	emptyDirLimit  = time.Minute
	volumeLimit    = time.Minute
	trimLimit      = 5 * time.Minute
	// lastTrimLimit bounds the trim of a shutdown.
	lastTrimLimit = 20 * time.Second
	// killLimit bounds how long a killed process takes to be gone.
	killLimit = 10 * time.Second
	saveLimit = 30 * time.Second
)

// Options of an Agent. The zero value is fine.
type Options struct {
	// Version is reported to hosts.
	Version string
	Log     logr.Logger
	// Dial opens the connections of probes and hooks; nil: net.Dialer does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Agent is the pod service of one guest. It implements agentpb.AgentServer; its
// errors are gRPC statuses.
type Agent struct {
	agentpb.UnimplementedAgentServer

	rt       Runtime
	opt      Options
	bootedAt time.Time
	outputs  *outputs
	usage    usageCache
	saver    saver
	// startSlot and trimSlot hold one token: whoever has it may start or trim.
	startSlot, trimSlot slot
	images              images
	podLog              atomic.Pointer[logr.Logger]
	stop                chan struct{}
	stopOnce            sync.Once
	wg                  sync.WaitGroup

	mu sync.Mutex
	// All below under mu; slow steps hold it never.
	revision   uint64
	changed    chan struct{} // closed and replaced at each change
	pod        *agentpb.PodIdentity
	createdAt  time.Time // of the pod, on its store
	settings   settings
	containers map[string]*container
	histories  map[string]*history
	dirs       map[string]*emptyDir
	volumes    map[string]*volume
	nextOrder  int
	unreadable []byte // a state that could not be read, kept for those who look into it
	configure  *operation
	shutdown   *operation
	closed     bool
}

// New makes the agent of a machine that has just booted.
func New(rt Runtime, opt Options) *Agent {
	if opt.Dial == nil {
		opt.Dial = new(net.Dialer).DialContext
	}
	return &Agent{
		rt:         rt,
		opt:        opt,
		bootedAt:   time.Now(),
		outputs:    newOutputs(),
		saver:      saver{slot: newSlot()},
		startSlot:  newSlot(),
		trimSlot:   newSlot(),
		images:     newImages(),
		stop:       make(chan struct{}),
		changed:    make(chan struct{}),
		containers: make(map[string]*container),
		histories:  make(map[string]*history),
		dirs:       make(map[string]*emptyDir),
		volumes:    make(map[string]*volume),
	}
}

// Close ends the agent's own goroutines and streams; what runs in containers is
// left as it is. It is for machines that end without a Shutdown.
func (a *Agent) Close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.stopOnce.Do(func() { close(a.stop) })
	a.wg.Wait()
}

// background runs f beside the calls, until Close; after it nothing is begun. a.mu is held.
func (a *Agent) background(f func()) bool {
	if a.closed {
		return false
	}
	a.wg.Go(f)
	return true
}

// log is the logger for lines about the pod, once there is one.
func (a *Agent) log() logr.Logger {
	if l := a.podLog.Load(); l != nil {
		return *l
	}
	return a.opt.Log
}

// touch records a change for those who watch. a.mu is held.
func (a *Agent) touch() {
	a.revision++
	close(a.changed)
	a.changed = make(chan struct{})
}

// ready returns why nothing can be done with the pod, if so. a.mu is held.
func (a *Agent) ready() error {
	switch {
	case a.shutdown != nil:
		return errShuttingDown
	case a.pod == nil:
		return errNotConfigured
	}
	return nil
}

// detached is a context for work that must come to its end.
func detached(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}

// operation is slow work on one object; others wait for it instead of doing it too.
type operation struct {
	done chan struct{}
	err  error // valid once done is closed
}

func newOperation() *operation { return &operation{done: make(chan struct{})} }

func (o *operation) finish(err error) {
	o.err = err
	close(o.done)
}

// wait returns the operation's error, or ctx's when that ends first.
func (o *operation) wait(ctx context.Context) error {
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// slot is a lock that can be waited for with a deadline.
type slot chan struct{}

func newSlot() slot { return make(slot, 1) }

func (s slot) acquire(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tryAcquire takes the slot unless it is taken.
func (s slot) tryAcquire() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s slot) release() { <-s }
