package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/ocispec"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// launch is what to run: the first process of a container, or a further one.
type launch struct {
	container, id string
	spec          *specs.Spec
	// stdin: the process has an open standard input, from stdio when that has one.
	stdin bool
	stdio agent.ExecIO
}

// Start implements agent.Runtime. What is put out while no session is there is lost.
func (r *Runtime) Start(ctx context.Context, id string, stdout, stderr io.Writer) (agent.Process, error) {
	spec, stdin, err := r.prepared(id)
	if err != nil {
		return nil, err
	}
	p, err := r.launch(ctx, launch{
		container: id, id: id, spec: spec, stdin: stdin, stdio: agent.ExecIO{Stdout: stdout, Stderr: stderr},
	})
	if err != nil {
		return nil, failed(err, "start container %s", id)
	}
	return p, nil
}

// Exec implements agent.Runtime.
func (r *Runtime) Exec(ctx context.Context, id string, req *agentpb.ExecRequest_Start, stdio agent.ExecIO) (agent.ExecProcess, error) {
	spec, _, err := r.prepared(id)
	if err != nil {
		return nil, err
	}
	if !req.GetStdin() {
		stdio.Stdin = nil
	}
	p, err := r.launch(ctx, launch{
		container: id, id: fmt.Sprintf("exec-%d", r.execs.Add(1)),
		spec:  &specs.Spec{Version: spec.Version, Process: ocispec.Exec(spec.Process, req)},
		stdin: req.GetStdin(), stdio: stdio,
	})
	if err != nil {
		return nil, failed(err, "exec in container %s", id)
	}
	if req.GetTty() && req.GetRows() > 0 && req.GetColumns() > 0 {
		if err := p.Resize(req.GetRows(), req.GetColumns()); err != nil {
			r.opt.Log.V(1).Info("terminal keeps its size", "cause", err.Error())
		}
	}
	return p, nil
}

// prepared is what Prepare made of a container.
func (r *Runtime) prepared(id string) (spec *specs.Spec, stdin bool, _ error) {
	c, err := r.container(id)
	if err != nil {
		return nil, false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.spec == nil {
		return nil, false, fmt.Errorf("container %s: %w", id, agent.ErrNotFound)
	}
	return c.spec, c.stdin, nil
}

// launch creates and starts a process. On failure nothing is left of it.
func (r *Runtime) launch(ctx context.Context, l launch) (*process, error) {
	s, err := r.now()
	if err != nil {
		return nil, err
	}
	c, err := s.create(ctx, l)
	if err != nil && answered(err) {
		return nil, err // and nothing is there
	}
	r.setMade(l.container, true)
	if err != nil {
		return nil, also(err, r.deleteProcess(context.WithoutCancel(ctx), l.container, l.id))
	}
	answer, err := s.StartProcess(ctx, &sandboxpb.StartProcessRequest{Id: l.id, ContainerID: &l.container})
	if err != nil {
		c.close()
		return nil, also(err, r.deleteProcess(context.WithoutCancel(ctx), l.container, l.id))
	}
	p := &process{r: r, container: l.container, id: l.id, pid: int(answer.GetPid()), done: make(chan struct{})}
	c.begin(l.stdio)
	if l.stdio.Stdin != nil {
		r.wg.Go(func() { p.feed(l.stdio.Stdin, c.conns[0]) })
	}
	r.wg.Go(func() { p.attend(c, s) })
	return p, nil
}

// create makes the process known to the guest and connects its streams.
func (s *session) create(ctx context.Context, l launch) (_ *connections, err error) {
	config, err := json.Marshal(l.spec)
	if err != nil {
		return nil, err
	}
	req := &sandboxpb.CreateProcessRequest{Id: l.id, ContainerID: &l.container, Configuration: config}
	var streams [3]Stream
	want := [3]bool{l.stdin, true, !l.spec.Process.Terminal}
	for i, field := range []**uint32{&req.Stdin, &req.Stdout, &req.Stderr} {
		if !want[i] {
			continue
		}
		port := newPort()
		if streams[i], err = s.streams.Expect(port); err != nil {
			return nil, err
		}
		defer streams[i].Close()
		*field = &port
	}
	c := &connections{}
	group, both := errgroup.WithContext(ctx)
	for i, stream := range streams {
		if stream == nil {
			continue
		}
		group.Go(func() (err error) {
			c.conns[i], err = stream.Take(both)
			return err
		})
	}
	group.Go(func() error {
		_, err := s.CreateProcess(both, req)
		return err
	})
	if err := group.Wait(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// feed gives the process its input, and says when that was all.
func (p *process) feed(from io.Reader, to net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		return // it takes no more, or has ended
	}
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	s, err := p.r.now()
	if err == nil {
		_, err = s.CloseProcessStdin(ctx, &sandboxpb.CloseProcessStdinRequest{Id: p.id, ContainerID: &p.container})
	}
	if err != nil {
		p.r.opt.Log.V(1).Info("input not closed", "process", p.id, "cause", err.Error())
	}
}

// connections are a process' streams: standard input, output and error; nil: none.
type connections struct {
	conns   [3]net.Conn
	copying sync.WaitGroup
}

// begin has output go where it is wanted.
func (c *connections) begin(stdio agent.ExecIO) {
	for i, to := range []io.Writer{1: stdio.Stdout, 2: stdio.Stderr} {
		if conn := c.conns[i]; conn != nil && to != nil {
			c.copying.Go(func() { _, _ = io.Copy(to, conn) }) // what cannot be had any more is lost
		}
	}
}

// finish takes what is still under way and closes all.
func (c *connections) finish() {
	timer := time.AfterFunc(drainLimit, c.close)
	c.copying.Wait()
	timer.Stop()
	c.close()
}

func (c *connections) close() {
	for _, conn := range c.conns {
		if conn != nil {
			_ = conn.Close() // nothing is lost by it that is wanted
		}
	}
}
