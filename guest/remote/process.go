package remote

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

const (
	// waitLimit bounds one call that waits for a process; the next one goes on with it.
	waitLimit = 10 * time.Minute
	// waitRetry is the pause before a wait that was cut off is taken up again.
	waitRetry = 200 * time.Millisecond
	// drainLimit bounds how long output takes to come once its process has ended.
	drainLimit = 5 * time.Second
	// killed is the exit code of what was ended by KILL, and of what nobody knows the end of.
	killed = 128 + int(syscall.SIGKILL)
)

// process is one that runs in the guest.
type process struct {
	r             *Runtime
	container, id string
	pid           int
	done          chan struct{}
	exit          agent.Exit // valid once done is closed
}

var _ agent.ExecProcess = (*process)(nil)

func (p *process) first() bool { return p.container == p.id }

// PID implements agent.Process.
func (p *process) PID() int { return p.pid }

// Done implements agent.Process.
func (p *process) Done() <-chan struct{} { return p.done }

// Exit implements agent.Process.
func (p *process) Exit() agent.Exit { return p.exit }

// Signal implements agent.Process.
func (p *process) Signal(sig syscall.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	s, err := p.r.now()
	if err != nil {
		return err
	}
	answer, err := s.KillProcess(ctx, &sandboxpb.KillProcessRequest{Id: p.id, ContainerID: &p.container, Signal: int32(sig)})
	if answer.GetResult() != 0 || status.Code(err) == codes.NotFound {
		return fmt.Errorf("signal process %s: %w", p.id, agent.ErrNotFound)
	}
	return failed(err, "signal process %s", p.id)
}

// Kill implements agent.Process. A container's first process takes the others with it, which are
// in its process namespace.
func (p *process) Kill() error {
	err := p.Signal(syscall.SIGKILL)
	select {
	case <-p.done:
		return nil
	default:
		return err
	}
}

// Resize implements agent.ExecProcess.
func (p *process) Resize(rows, columns uint32) error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	s, err := p.r.now()
	if err == nil {
		_, err = s.ResizeProcess(ctx, &sandboxpb.ResizeProcessRequest{Id: p.id, ContainerID: &p.container, Rows: rows, Columns: columns})
	}
	return failed(err, "resize process %s", p.id)
}

// attend waits for the process' end, and its output's, and settles what is left of it.
func (p *process) attend(c *connections, s *session) {
	ctx, cancel := p.r.untilClosed()
	defer cancel()
	exit := p.wait(ctx, s)
	if p.first() && exit.Code == killed {
		exit.OOMKilled = p.outOfMemory(ctx)
	}
	if ctx.Err() != nil {
		c.close() // nobody wants what is still to come
	}
	c.finish()
	p.exit = exit
	close(p.done)
	if p.first() || ctx.Err() != nil {
		return // Clean deletes it
	}
	if err := p.r.deleteProcess(ctx, p.container, p.id); err != nil {
		p.r.opt.Log.V(1).Info("process that has ended not deleted", "process", p.id, "cause", err.Error())
	}
}

// wait goes on from session to session.
func (p *process) wait(ctx context.Context, s *session) agent.Exit {
	for {
		call, cancel := context.WithTimeout(ctx, waitLimit)
		answer, err := s.WaitProcess(call, &sandboxpb.WaitProcessRequest{Id: p.id, ContainerID: &p.container})
		cancel()
		if err == nil {
			at := time.Now()
			if answer.GetExitedAt().IsValid() {
				at = answer.GetExitedAt().AsTime()
			}
			return agent.Exit{Code: int(answer.GetExitCode()), At: at}
		}
		switch status.Code(err) {
		case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded: // the link, or the limit
			select {
			case <-time.After(waitRetry):
			case <-ctx.Done():
			}
			if s, err = p.r.await(ctx); err == nil {
				continue
			}
		}
		if ctx.Err() == nil {
			p.r.opt.Log.Error(err, "end of a process not known; it counts as killed", "process", p.id)
		}
		return agent.Exit{Code: killed, At: time.Now()}
	}
}

// outOfMemory asks the kernel's count, which the container's cgroup keeps until it is deleted.
func (p *process) outOfMemory(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	s, err := p.r.now()
	if err != nil {
		return false
	}
	answer, err := s.ContainerStatistics(ctx, &sandboxpb.ContainerStatisticsRequest{
		ContainerIds: []string{p.container}, Categories: []sandboxpb.StatCategory{sandboxpb.StatCategory_STAT_CATEGORY_MEMORY_EVENTS},
	})
	if err != nil {
		return false
	}
	for _, c := range answer.GetContainers() {
		if c.GetContainerId() == p.container && c.GetMemoryEvents().GetOomKill() > 0 {
			return true
		}
	}
	return false
}

// deleteProcess ends and forgets a process; of a container's first one, the container. A missing one is fine.
func (r *Runtime) deleteProcess(ctx context.Context, container, id string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*callLimit)
	defer cancel()
	s, err := r.now()
	if err == nil {
		_, err = s.DeleteProcess(ctx, &sandboxpb.DeleteProcessRequest{Id: id, ContainerID: &container})
	}
	if err = unless(err, codes.NotFound); err == nil && id == container {
		r.setMade(container, false)
	}
	return err
}

// setMade notes whether the guest may know a container.
func (r *Runtime) setMade(id string, made bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		c.made = made
	}
}

// made tells whether the guest may know a container. One that it does not know is not asked for:
// what is not there is an error of any kind to some guests.
func (r *Runtime) made(c *container) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.made
}
