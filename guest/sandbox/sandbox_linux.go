package sandbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// closeLimit bounds the end of each container when the service is closed.
const closeLimit = 30 * time.Second

// Containers runs OCI containers by specs that others made.
type Containers interface {
	// RunBundle starts a container's first process. On failure nothing is left of it.
	RunBundle(ctx context.Context, id string, spec *specs.Spec, stdio agent.ExecIO) (agent.ExecProcess, error)
	// ExecBundle starts a further process in a container that RunBundle started.
	ExecBundle(ctx context.Context, id string, process *specs.Process, stdio agent.ExecIO) (agent.ExecProcess, error)
	// RemoveBundle ends all processes of a container and forgets it. A missing one is fine.
	RemoveBundle(ctx context.Context, id string) error
	// ContainerCgroups returns the cgroup directories of all containers, by id.
	ContainerCgroups() (map[string]string, error)
}

// Options of a Sandbox.
type Options struct {
	Containers Containers
	// Ready is closed once the kernel has all its modules; nil: it has them.
	Ready <-chan struct{}
	Log   logr.Logger
}

// Sandbox is what the service knows, whatever transport its calls come by. It is safe for
// concurrent use.
type Sandbox struct {
	opt Options

	mu        sync.Mutex
	closed    bool
	processes map[processKey]*process
	proxies   map[string]*proxy
}

// New makes a Sandbox. Close ends what it started.
func New(opt Options) *Sandbox {
	return &Sandbox{opt: opt, processes: map[processKey]*process{}, proxies: map[string]*proxy{}}
}

// Service is a Sandbox as one transport reaches it.
type Service struct {
	sandboxpb.UnimplementedSandboxContextServer
	*Sandbox
	ports Ports
}

var _ sandboxpb.SandboxContextServer = Service{}

// Over is the service for calls that come by a transport with these ports.
func (s *Sandbox) Over(ports Ports) Service { return Service{Sandbox: s, ports: ports} }

// Close ends all processes and relays. Calls that are under way are the server's to end.
func (s *Sandbox) Close() error {
	s.mu.Lock()
	s.closed = true
	var containers []string
	for key := range s.processes {
		if key.first() {
			containers = append(containers, key.container)
		}
	}
	proxies := s.proxies
	s.proxies = map[string]*proxy{}
	s.mu.Unlock()
	var errs []error
	for _, p := range proxies {
		errs = append(errs, p.close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	for _, id := range containers {
		errs = append(errs, s.remove(ctx, processKey{id, id}))
	}
	return errors.Join(errs...)
}

// ready waits until the kernel has all its modules.
func (s *Sandbox) ready(ctx context.Context) error {
	if s.opt.Ready == nil {
		return nil
	}
	select {
	case <-s.opt.Ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
