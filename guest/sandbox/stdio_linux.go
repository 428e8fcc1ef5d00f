package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// inputIdle is how long an input that is to be closed may pause before it counts as all there
// is: what the host wrote before it said so is under way.
const inputIdle = 200 * time.Millisecond

// stdio are the connections of a process' streams with ports of the host.
type stdio struct {
	in       *input   // nil: none
	out, err net.Conn // nil: what is written is dropped
	once     sync.Once
	closeErr error
}

// connectStdio connects all streams that a request has ports for. With a terminal all output
// is standard output.
func connectStdio(ctx context.Context, ports Ports, req *sandboxpb.CreateProcessRequest, terminal bool) (*stdio, error) {
	group, ctx := errgroup.WithContext(ctx)
	var conns [3]net.Conn
	for i, port := range []*uint32{req.Stdin, req.Stdout, req.Stderr} {
		if port == nil || i == 2 && terminal {
			continue
		}
		group.Go(func() error {
			conn, err := ports.Dial(ctx, *port)
			if err != nil {
				return fmt.Errorf("connect %s: %w", [3]string{"stdin", "stdout", "stderr"}[i], err)
			}
			conns[i] = conn
			return nil
		})
	}
	err := group.Wait()
	s := &stdio{out: conns[1], err: conns[2]}
	if conns[0] != nil {
		s.in = &input{conn: conns[0]}
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// exec is what the process gets.
func (s *stdio) exec() agent.ExecIO {
	e := agent.ExecIO{Stdout: io.Discard, Stderr: io.Discard}
	if s.in != nil {
		e.Stdin = s.in
	}
	if s.out != nil {
		e.Stdout = s.out
	}
	if s.err != nil {
		e.Stderr = s.err
	}
	return e
}

func (s *stdio) closeInput() {
	if s.in != nil {
		s.in.finish()
	}
}

// closeAfter closes all once done is closed.
func (s *stdio) closeAfter(done <-chan struct{}) {
	go func() {
		<-done
		_ = s.close() // all output was delivered
	}()
}

func (s *stdio) close() error {
	s.once.Do(func() {
		var errs []error
		if s.in != nil {
			errs = append(errs, s.in.conn.Close())
		}
		for _, conn := range []net.Conn{s.out, s.err} {
			if conn != nil {
				errs = append(errs, conn.Close())
			}
		}
		s.closeErr = errors.Join(errs...)
	})
	return s.closeErr
}

// input reads from a connection until finish, and then what is still under way.
type input struct {
	conn     net.Conn
	finished atomic.Bool
}

// Read implements io.Reader.
func (i *input) Read(p []byte) (int, error) {
	if i.finished.Load() {
		if err := i.rearm(); err != nil {
			return 0, err
		}
	}
	n, err := i.conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.EOF
	}
	return n, err
}

func (i *input) finish() {
	i.finished.Store(true)
	_ = i.rearm() // for a read that waits already; it fails on a closed connection only
}

func (i *input) rearm() error { return i.conn.SetReadDeadline(time.Now().Add(inputIdle)) }
