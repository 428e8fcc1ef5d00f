package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// stdinChunk is how much input goes into one message; the protocol allows 64 KiB.
const stdinChunk = 32 << 10

// execSession is one exec stream and what is at its host end.
type execSession struct {
	app   *app
	stdin io.Reader
	// terminal is the user's, nil when there is none.
	terminal *os.File

	send sync.Mutex // a gRPC stream takes one sender at a time
}

// run carries input and output until the command has ended, and returns its exit code.
func (e *execSession) run(ctx context.Context, agent agentpb.AgentClient, start *agentpb.ExecRequest_Start) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := agent.Exec(ctx)
	if err != nil {
		return 0, err
	}
	if err := e.put(stream, &agentpb.ExecRequest{Message: &agentpb.ExecRequest_Start_{Start: start}}); err != nil {
		return 0, err
	}
	if start.GetStdin() {
		// A blocked read of stdin cannot be interrupted; this goroutine ends with the process.
		go e.feed(stream)
	}
	if e.terminal != nil {
		stop := e.followSize(stream)
		defer stop()
	}
	return e.receive(stream)
}

type execStream = interface {
	Send(*agentpb.ExecRequest) error
	Recv() (*agentpb.ExecResponse, error)
}

func (e *execSession) put(stream execStream, r *agentpb.ExecRequest) error {
	e.send.Lock()
	defer e.send.Unlock()
	err := stream.Send(r)
	if errors.Is(err, io.EOF) {
		return nil // why the stream ended is what receive returns
	}
	return err
}

func (e *execSession) feed(stream execStream) {
	buf := make([]byte, stdinChunk)
	for {
		n, err := e.stdin.Read(buf)
		if n > 0 {
			sent := e.put(stream, &agentpb.ExecRequest{Message: &agentpb.ExecRequest_Stdin{Stdin: buf[:n]}})
			if sent != nil {
				return
			}
		}
		if err != nil {
			// A failed send shows as the end of the stream.
			_ = e.put(stream, &agentpb.ExecRequest{Message: &agentpb.ExecRequest_StdinEof{StdinEof: true}})
			return
		}
	}
}

// followSize tells the command's terminal when the user's changes its size.
func (e *execSession) followSize(stream execStream) (stop func()) {
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, syscall.SIGWINCH)
	done := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-changes:
			}
			columns, rows, err := term.GetSize(int(e.terminal.Fd()))
			if err != nil || columns <= 0 || rows <= 0 {
				continue
			}
			size := &agentpb.ExecRequest_Resize{Rows: uint32(rows), Columns: uint32(columns)}
			if e.put(stream, &agentpb.ExecRequest{Message: &agentpb.ExecRequest_Resize_{Resize: size}}) != nil {
				return
			}
		}
	})
	return func() {
		signal.Stop(changes)
		close(done)
		following.Wait()
	}
}

func (e *execSession) receive(stream execStream) (int, error) {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return 0, errors.New("the stream ended before the command did")
		}
		if err != nil {
			return 0, err
		}
		switch m := r.GetMessage().(type) {
		case *agentpb.ExecResponse_Stdout:
			_, err = e.app.stdout.Write(m.Stdout)
		case *agentpb.ExecResponse_Stderr:
			_, err = e.app.stderr.Write(m.Stderr)
		case *agentpb.ExecResponse_Exit_:
			return int(m.Exit.GetCode()) & 0xff, nil
		}
		if err != nil {
			return 0, fmt.Errorf("write output: %w", err)
		}
	}
}

// agentCause is what an agent's error says, without gRPC's words around it.
func agentCause(err error) error {
	s, ok := status.FromError(err)
	if !ok || s.Message() == "" {
		return err
	}
	return &agentError{err: err, text: s.Message()}
}

type agentError struct {
	err  error
	text string
}

func (e *agentError) Error() string { return e.text }
func (e *agentError) Unwrap() error { return e.err }
