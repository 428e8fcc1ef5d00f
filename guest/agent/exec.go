package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// execStream is the part of the RPC's stream that exec needs. Recv and Send may be
// called at the same time, each by one goroutine.
type execStream interface {
	Context() context.Context
	Recv() (*agentpb.ExecRequest, error)
	Send(*agentpb.ExecResponse) error
}

// exec runs a process in a container for as long as its caller stays.
func (a *Agent) exec(s execStream) error {
	first, err := s.Recv()
	if err != nil {
		return fmt.Errorf("exec: receive start: %w", err)
	}
	start := first.GetStart()
	if err := checkExec(start); err != nil {
		return err
	}
	if err := a.runExec(s, start); err != nil {
		return fmt.Errorf("exec in container %s: %w", start.GetContainer(), err)
	}
	return nil
}

func checkExec(start *agentpb.ExecRequest_Start) error {
	if start == nil {
		return invalid("first message is not a start")
	}
	if err := checkName("container name", start.GetContainer(), maxName); err != nil {
		return err
	}
	if max(start.GetRows(), start.GetColumns()) > maxTerminalLength {
		return invalid("terminal of %d x %d", start.GetRows(), start.GetColumns())
	}
	return checkCommand(start.GetArgv(), start.GetEnv())
}

func (a *Agent) runExec(s execStream, start *agentpb.ExecRequest_Start) error {
	id, err := a.runningID(start.GetContainer())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	out := &execOutput{stream: s}
	stdio := ExecIO{Stdout: execWriter{out, false}, Stderr: execWriter{out, true}}
	in, feed := io.Pipe()
	defer func() { _ = in.Close() }() // it never fails
	if start.GetStdin() {
		stdio.Stdin = in
	}
	proc, err := a.rt.Exec(ctx, id, start, stdio)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	// It ends when the stream does, which is when this call has returned.
	go func() {
		if err := receiveExec(s, proc, feed, start.GetStdin()); err != nil {
			failed <- err
		}
	}()
	if err := a.awaitExec(ctx, proc, failed); err != nil {
		return err
	}
	return out.send(&agentpb.ExecResponse{Message: &agentpb.ExecResponse_Exit_{
		Exit: &agentpb.ExecResponse_Exit{Code: int32(proc.Exit().Code)},
	}})
}

// runningID is the id of a container that runs.
func (a *Agent) runningID(name string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.ready(); err != nil {
		return "", err
	}
	c := a.containers[name]
	switch {
	case c == nil:
		return "", ErrNotFound
	case c.State != stateRunning:
		return "", fmt.Errorf("%w: it is %s", ErrNotRunning, c.State)
	}
	return c.ID, nil
}

// awaitExec waits for the process' end; when the caller leaves or misbehaves the
// process is killed.
func (a *Agent) awaitExec(ctx context.Context, proc ExecProcess, failed <-chan error) error {
	var cause error
	select {
	case <-proc.Done():
		return nil
	case cause = <-failed:
	case <-ctx.Done():
		cause = context.Cause(ctx)
	case <-a.stop:
		cause = errShuttingDown
	}
	if err := proc.Kill(); err != nil && !errors.Is(err, ErrNotFound) {
		return errors.Join(cause, fmt.Errorf("kill process %d: %w", proc.PID(), err))
	}
	timer := time.NewTimer(killLimit)
	defer timer.Stop()
	select {
	case <-proc.Done():
	case <-timer.C:
		a.log().Info("process is still there after it was killed", "pid", proc.PID())
	}
	return cause
}

// receiveExec passes on what the caller sends, until it sends no more (nil) or
// something that is not allowed.
func receiveExec(s execStream, proc ExecProcess, feed *io.PipeWriter, stdin bool) error {
	for {
		req, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return feed.Close()
		}
		if err != nil {
			return feed.CloseWithError(err) // the stream's context tells
		}
		switch m := req.GetMessage().(type) {
		case *agentpb.ExecRequest_Stdin:
			if len(m.Stdin) > maxStdin {
				return invalid("stdin message of %d bytes, more than %d", len(m.Stdin), maxStdin)
			}
			if stdin {
				// It fails only once nobody reads any more.
				_, _ = feed.Write(m.Stdin)
			}
		case *agentpb.ExecRequest_StdinEof:
			_ = feed.Close() // it never fails
		case *agentpb.ExecRequest_Resize_:
			err = resizeExec(proc, m.Resize)
		case *agentpb.ExecRequest_Signal:
			err = signalExec(proc, m.Signal)
		default:
			err = invalid("message is none of stdin, resize and signal")
		}
		if err != nil {
			return err
		}
	}
}

func resizeExec(proc ExecProcess, size *agentpb.ExecRequest_Resize) error {
	if max(size.GetRows(), size.GetColumns()) > maxTerminalLength {
		return invalid("terminal of %d x %d", size.GetRows(), size.GetColumns())
	}
	// A process without a terminal, or one that has just ended, has no size.
	_ = proc.Resize(size.GetRows(), size.GetColumns())
	return nil
}

func signalExec(proc ExecProcess, sig int32) error {
	if sig < 1 || sig > 64 {
		return invalid("signal %d is not within 1 and 64", sig)
	}
	if err := proc.Signal(syscall.Signal(sig)); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("signal process: %w", err)
	}
	return nil
}

// execOutput sends for both output streams of a process.
type execOutput struct {
	mu     sync.Mutex
	stream execStream
}

func (o *execOutput) send(m *agentpb.ExecResponse) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stream.Send(m)
}

type execWriter struct {
	out    *execOutput
	stderr bool
}

// Write blocks while the caller does not take what was sent before.
func (w execWriter) Write(p []byte) (int, error) {
	for sent := 0; sent < len(p); {
		data := p[sent:min(sent+maxChunk, len(p))]
		m := &agentpb.ExecResponse{Message: &agentpb.ExecResponse_Stdout{Stdout: data}}
		if w.stderr {
			m.Message = &agentpb.ExecResponse_Stderr{Stderr: data}
		}
		if err := w.out.send(m); err != nil {
			return sent, err
		}
		sent += len(data)
	}
	return len(p), nil
}
