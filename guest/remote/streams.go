package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/link"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

const (
	// dialLimit bounds the wait for the guest to wait for a stream.
	dialLimit = 20 * time.Second
	// dialPoll is how often it is tried: the guest says that it waits in no other way.
	dialPoll = 5 * time.Millisecond
)

// newPort is a port that no stream had before.
func (r *Runtime) newPort() uint32 { return r.port.Add(1) }

// dial opens a stream as soon as the guest waits for it.
func (s *session) dial(ctx context.Context, port uint32) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialLimit, fmt.Errorf("%w: the guest did not wait for the stream", context.DeadlineExceeded))
	defer cancel()
	for {
		conn, err := s.streams.Dial(ctx, port)
		if err == nil || !errors.Is(err, link.ErrPortRefused) {
			return conn, err
		}
		select {
		case <-time.After(dialPoll):
		case <-ctx.Done():
			return nil, fmt.Errorf("open a stream to port %d: %w", port, context.Cause(ctx))
		}
	}
}

// read returns the beginning, at most limit bytes, of a file of the guest.
func (r *Runtime) read(ctx context.Context, path string, limit int64) ([]byte, error) {
	s, err := r.now()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel() // ends the call, whatever is left of the file
	port := r.newPort()
	answers, err := s.Copy(ctx, &sandboxpb.CopyRequest{Direction: sandboxpb.CopyRequest_COPY_OUT, Path: path, VsockPort: port})
	if err != nil {
		return nil, err
	}
	metadata, err := answers.Recv()
	switch {
	case err != nil:
		return nil, err
	case metadata.GetError() != "":
		return nil, errors.New(metadata.GetError())
	case metadata.GetIsArchive():
		return nil, errors.New("it is a directory")
	}
	conn, err := s.dial(ctx, port)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // only read
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return io.ReadAll(io.LimitReader(conn, limit))
}

// exists tells whether there is a file at path, or what a link there leads to.
func (s *session) exists(ctx context.Context, path string) (bool, error) {
	answer, err := s.Stat(ctx, &sandboxpb.StatRequest{Path: path})
	if err != nil {
		return false, err
	}
	return answer.GetError() == "" && answer.GetStat() != nil, nil
}
