package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/link"
)

const (
	// streamLimit bounds the wait for a stream from the guest.
	streamLimit = 20 * time.Second
	// dialPoll is how often a stream over the link is tried: the guest says in no other way
	// that it waits for one.
	dialPoll = 5 * time.Millisecond
)

// Streams are how bytes of processes and files come here: one stream each, to a port that the
// guest is told of.
type Streams interface {
	// Expect gets ready for one stream to a port, before the guest is told of it.
	Expect(port uint32) (Stream, error)
}

// Stream is one that is expected.
type Stream interface {
	// Take waits until the stream is there.
	Take(ctx context.Context) (net.Conn, error)
	// Close ends the expectation. What Take returned lives on.
	Close()
}

// Dialer opens streams to ports on which the guest waits (link.Session). The error wraps
// link.ErrPortRefused when it does not wait there.
type Dialer interface {
	Dial(ctx context.Context, port uint32) (net.Conn, error)
}

// OverLink are the streams of a link, which are opened from here.
func OverLink(session Dialer) Streams { return linkStreams{session} }

type linkStreams struct{ session Dialer }

// Expect implements Streams.
func (l linkStreams) Expect(port uint32) (Stream, error) { return linkStream{l.session, port}, nil }

type linkStream struct {
	session Dialer
	port    uint32
}

// Take implements Stream: it is opened as soon as the guest waits for it.
func (l linkStream) Take(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, streamLimit, fmt.Errorf("%w: the guest did not wait for the stream", context.DeadlineExceeded))
	defer cancel()
	for {
		conn, err := l.session.Dial(ctx, l.port)
		if err == nil || !errors.Is(err, link.ErrPortRefused) {
			return conn, err
		}
		select {
		case <-time.After(dialPoll):
		case <-ctx.Done():
			return nil, fmt.Errorf("open a stream to port %d: %w", l.port, context.Cause(ctx))
		}
	}
}

// Close implements Stream.
func (linkStream) Close() {}

// Listener takes connections of the guest to a port of its host.
type Listener interface {
	ListenPort(port uint32) (net.Listener, error)
}

// OverPorts are the streams of a guest that opens them itself, to ports of its host (vsock).
func OverPorts(host Listener) Streams { return portStreams{host} }

type portStreams struct{ host Listener }

// Expect implements Streams.
func (p portStreams) Expect(port uint32) (Stream, error) {
	l, err := p.host.ListenPort(port)
	if err != nil {
		return nil, fmt.Errorf("listen on port %d for the guest: %w", port, err)
	}
	return portStream{l, port}, nil
}

type portStream struct {
	listener net.Listener
	port     uint32
}

// Take implements Stream. The first connection counts: the port is known to the guest alone, and
// within it to nobody who does not guess it.
func (p portStream) Take(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, streamLimit, fmt.Errorf("%w: the guest opened no stream", context.DeadlineExceeded))
	defer cancel()
	stop := context.AfterFunc(ctx, p.Close)
	defer stop()
	conn, err := p.listener.Accept()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("take a stream to port %d: %w", p.port, err)
	}
	return conn, nil
}

// Close implements Stream.
func (p portStream) Close() { _ = p.listener.Close() } // nobody connects any more
