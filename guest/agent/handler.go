package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

const (
	// maxProbeMessage bounds what is kept of what a probe or hook found.
	maxProbeMessage = 1 << 10
	// execStartLimit bounds how long a command takes to be started: its own time counts
	// from then on, for starting one takes long on a slow machine.
	execStartLimit = 30 * time.Second
)

// errTimeout: the time for a probe was too short.
var errTimeout = errors.New("timed out")

// finding is what came of a handler.
type finding struct {
	ok      bool
	message string
}

// bounded is the finding with a message that is short enough to keep.
func (f finding) bounded() finding {
	return finding{f.ok, bounded(f.message, maxProbeMessage)}
}

// bounded is s without what is no UTF-8, and its beginning only when it is longer than limit.
func bounded(s string, limit int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

// after is s with a separator before it, or "" for "".
func after(separator, s string) string {
	if s == "" {
		return ""
	}
	return separator + s
}

// act does what a handler says until ctx ends, for limit at most when that is not 0. An error
// means that it could not be done at all, which says nothing about the container.
func (a *Agent) act(ctx context.Context, c *container, h *agentpb.Handler, limit time.Duration) (finding, error) {
	if exec := h.GetExec(); exec != nil {
		return a.execIn(ctx, c, exec.GetArgv(), limit)
	}
	ctx, cancel := within(ctx, limit)
	defer cancel()
	f, err := a.call(ctx, h)
	if err == nil && !f.ok && late(ctx) {
		f.message = fmt.Sprintf("timed out after %v", limit)
	}
	return f, err
}

// call does what a handler says that is no exec.
func (a *Agent) call(ctx context.Context, h *agentpb.Handler) (finding, error) {
	switch action := h.GetAction().(type) {
	case *agentpb.Handler_HttpGet:
		return a.httpGet(ctx, action.HttpGet, false)
	case *agentpb.Handler_TcpSocket:
		return a.tcpSocket(ctx, action.TcpSocket), nil
	case *agentpb.Handler_Grpc:
		return a.grpcCheck(ctx, action.Grpc)
	case *agentpb.Handler_Sleep:
		return sleep(ctx, action.Sleep.AsDuration()), nil
	}
	return finding{}, invalid("handler has no action")
}

// within is ctx with a limit, unless that is 0.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, limit, errTimeout)
}

// late tells whether a ctx of within has come to its limit.
func late(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errTimeout) }

// address is where a port of the pod is; host is "" for its own address.
func (a *Agent) address(host string, port uint32) string {
	if host == "" {
		a.mu.Lock()
		host = a.settings.host
		a.mu.Unlock()
	}
	return net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10))
}

// tcpSocket succeeds when the connection opens.
func (a *Agent) tcpSocket(ctx context.Context, t *agentpb.TCPSocketAction) finding {
	conn, err := a.opt.Dial(ctx, "tcp", a.address(t.GetHost(), t.GetPort()))
	if err != nil {
		return finding{message: err.Error()}
	}
	_ = conn.Close() // nothing was written
	return finding{ok: true}
}

func sleep(ctx context.Context, d time.Duration) finding {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return finding{ok: true}
	case <-ctx.Done():
		return finding{message: "interrupted"}
	}
}

// execIn runs a command in the container; it succeeds with exit code 0. It is killed when ctx ends
// before it does, or limit after it was started. Of its output the end is kept for the message of
// a failure.
func (a *Agent) execIn(ctx context.Context, c *container, argv []string, limit time.Duration) (finding, error) {
	starting, cancel := context.WithTimeout(ctx, execStartLimit)
	defer cancel()
	out := &tail{limit: maxProbeMessage}
	proc, err := a.rt.Exec(starting, c.ID, &agentpb.ExecRequest_Start{Container: c.Name, Argv: argv}, ExecIO{Stdout: out, Stderr: out})
	if err != nil {
		return finding{}, err
	}
	running, stop := within(ctx, limit)
	defer stop()
	if err := a.awaitExec(running, proc, nil); err != nil {
		message := "interrupted"
		if late(running) {
			message = fmt.Sprintf("timed out after %v", limit)
		}
		return finding{message: message + after(": ", out.String())}, nil
	}
	if code := proc.Exit().Code; code != 0 {
		return finding{message: fmt.Sprintf("exit code %d", code) + after(": ", out.String())}, nil
	}
	return finding{ok: true}, nil
}

// tail keeps the end of what is written to it. It is safe for concurrent use.
type tail struct {
	limit int

	mu  sync.Mutex
	buf []byte
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p[max(0, len(p)-t.limit):]...)
	t.buf = append(t.buf[:0], t.buf[max(0, len(t.buf)-t.limit):]...)
	return len(p), nil
}

// String is the end as text, without the line end.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(strings.ToValidUTF8(string(t.buf), "?"))
}
