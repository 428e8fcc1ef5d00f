package remotetest

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
)

// Programs are processes that do what their first argument says.
type Programs struct {
	mu      sync.Mutex
	specs   map[string]*specs.Spec
	running map[string]*Program
	removed []string
}

func newPrograms() *Programs {
	return &Programs{specs: map[string]*specs.Spec{}, running: map[string]*Program{}}
}

// Program is a process: "say WORDS" ends with exit code 3, and "wait WORDS" does the same once it is
// told to go on, "echo" ends with its input, "missing" is not there, all else runs on.
type Program struct {
	done chan struct{}
	once sync.Once
	code int
	goOn chan struct{}
}

func (f *Programs) run(id string, process *specs.Process, stdio agent.ExecIO) (agent.ExecProcess, error) {
	if process.Args[0] == "missing" {
		return nil, fmt.Errorf("executable file %q not found", process.Args[0])
	}
	p := &Program{done: make(chan struct{}), goOn: make(chan struct{})}
	f.mu.Lock()
	f.running[id] = p
	f.mu.Unlock()
	go func() {
		switch process.Args[0] {
		case "wait":
			select {
			case <-p.goOn:
			case <-p.done:
				return
			}
			fallthrough
		case "say":
			fmt.Fprint(stdio.Stdout, strings.Join(process.Args[1:], " "))
			fmt.Fprint(stdio.Stderr, "said")
			p.End(3)
		case "echo":
			_, _ = io.Copy(stdio.Stdout, stdio.Stdin)
			p.End(0)
		}
	}()
	return p, nil
}

// RunBundle implements sandbox.Containers.
func (f *Programs) RunBundle(_ context.Context, id string, spec *specs.Spec, stdio agent.ExecIO) (agent.ExecProcess, error) {
	f.mu.Lock()
	f.specs[id] = spec
	f.mu.Unlock()
	return f.run(id, spec.Process, stdio)
}

// ExecBundle implements sandbox.Containers.
func (f *Programs) ExecBundle(_ context.Context, id string, p *specs.Process, stdio agent.ExecIO) (agent.ExecProcess, error) {
	return f.run(path.Join(id, "further"), p, stdio)
}

// RemoveBundle implements sandbox.Containers.
func (f *Programs) RemoveBundle(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removed = append(f.removed, id)
	if p := f.running[id]; p != nil {
		p.End(137)
	}
	return nil
}

// ContainerCgroups implements sandbox.Containers.
func (f *Programs) ContainerCgroups() (map[string]string, error) { return map[string]string{}, nil }

// Of returns the spec and the process of the container whose id begins so.
func (f *Programs) Of(name string) (*specs.Spec, *Program) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, spec := range f.specs {
		if strings.HasPrefix(id, name) {
			return spec, f.running[id]
		}
	}
	return nil, nil
}

// End ends the process, unless it has ended.
func (p *Program) End(code int) {
	p.once.Do(func() {
		p.code = code
		close(p.done)
	})
}

// GoOn tells a process to, once.
func (p *Program) GoOn() { close(p.goOn) }

// PID implements agent.Process.
func (p *Program) PID() int { return 42 }

// Signal implements agent.Process: every one ends the process.
func (p *Program) Signal(sig syscall.Signal) error {
	select {
	case <-p.done:
		return agent.ErrNotFound
	default:
	}
	p.End(128 + int(sig))
	return nil
}

// Kill implements agent.Process.
func (p *Program) Kill() error {
	p.End(137)
	return nil
}

// Done implements agent.Process.
func (p *Program) Done() <-chan struct{} { return p.done }

// Exit implements agent.Process.
func (p *Program) Exit() agent.Exit { return agent.Exit{Code: p.code, At: time.Now()} }

// Resize implements agent.ExecProcess.
func (p *Program) Resize(uint32, uint32) error { return nil }
