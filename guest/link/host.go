package link

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/hashicorp/yamux"
)

// How often a Hello is sent again while nothing answers: the guest opens its port
// some time after the host connected, and what was sent before that may be lost.
const (
	helloInterval = 50 * time.Millisecond
	// helloIntervalLate applies after helloEager.
	helloIntervalLate = 250 * time.Millisecond
	helloEager        = 10 * time.Second
)

// Session is a host's session with a guest.
type Session struct {
	mux  *yamux.Session
	conn *hostConn
	ack  ack
	done chan struct{}
	err  error // valid once done is closed
}

// Open opens a session over conn, repeating its Hello until the guest answers,
// refuses (ErrRefused), ctx ends (ErrTimeout when that is its deadline) or conn
// fails (ErrLost). conn belongs to the session from the call on and is closed with
// it, or at once when Open fails. A logger in ctx (logr.NewContext) gets details at V(2).
func Open(ctx context.Context, conn net.Conn, hello Hello) (*Session, error) {
	if hello.MachineID == "" || !validText(hello.MachineID) {
		_ = conn.Close()
		return nil, errors.New("open link session: machine id is empty, too long or not printable")
	}
	c := newHostConn(conn)
	answer, err := c.handshake(ctx, hello)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("open link session: %w", err)
	}
	mux, err := yamux.Client(c, muxConfig(logr.FromContextOrDiscard(ctx)))
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("open link session: %w", err)
	}
	s := &Session{mux: mux, conn: c, ack: answer, done: make(chan struct{})}
	go s.watch()
	return s, nil
}

// BootID is the guest's word for this boot: at most 128 printable ASCII characters.
func (s *Session) BootID() string { return s.ack.bootID }

// AgentVersion is the version of the guest's agent, of the same form.
func (s *Session) AgentVersion() string { return s.ack.agentVersion }

// Done is closed when the session is over and its goroutines have ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err says why the session is over (ErrLost, ErrReplaced, ErrClosed, ...); nil before Done.
func (s *Session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Close ends the session, its streams and its connection. Only the first call does
// anything; each returns once the session is over.
func (s *Session) Close() error {
	s.conn.fail(ErrClosed)
	_ = s.mux.Close() // it never fails
	<-s.done
	return nil
}

// Dial opens a stream to what listens on port in the guest: ErrPortRefused when
// nothing does.
func (s *Session) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	st, err := s.dial(ctx, port)
	if err != nil {
		if cause := s.Err(); cause != nil {
			err = cause
		} else if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("dial guest port %d: %w", port, err)
	}
	return st, nil
}

func (s *Session) dial(ctx context.Context, port uint32) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ys, err := s.mux.OpenStream()
	if err != nil {
		return nil, err
	}
	st := &stream{Stream: ys, remote: Addr{Port: port}}
	if err := ys.SetDeadline(time.Now().Add(openTimeout)); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = st.SetDeadline(time.Unix(1, 0)) })
	err = requestPort(ys, port)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = ys.SetDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}

// watch waits for the end of the session and settles what is left of it.
func (s *Session) watch() {
	defer close(s.done)
	// The guest has no business opening streams here; it is told once, and refused
	// by the multiplexer from then on.
	_ = s.mux.GoAway()
	for {
		st, err := s.mux.AcceptStream()
		if err != nil {
			s.err = s.conn.cause(err)
			break
		}
		_ = st.Close()
	}
	_ = s.conn.Close()
	_ = s.mux.Close()
}

// hostConn is the session's byte stream on the host.
type hostConn struct {
	*outlet
	conn    net.Conn
	scanner *scanner
	rest    []byte
	expect  uint32
	skipped uint64

	mu        sync.Mutex
	err       error
	closeOnce sync.Once
}

func newHostConn(conn net.Conn) *hostConn {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	c := &hostConn{conn: conn, scanner: newScanner(conn)}
	c.outlet = newOutlet(newWire(conn), binary.BigEndian.Uint64(b[:]), c.failure)
	return c
}

// handshake leaves conn without deadlines on success.
func (c *hostConn) handshake(ctx context.Context, hello Hello) (ack, error) {
	past := time.Unix(1, 0)
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(past) })
	defer stop()
	sending, cancel := context.WithCancel(ctx)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		c.sayHello(sending, encode(kindHello, c.nonce, hello.marshal()))
	}()
	answer, err := c.awaitAnswer()
	cancel()
	_ = c.conn.SetWriteDeadline(past)
	<-sent
	if !stop() || ctx.Err() != nil {
		return ack{}, timeoutError(ctx)
	}
	if err != nil {
		return ack{}, err
	}
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		return ack{}, fmt.Errorf("%w: %w", ErrLost, err)
	}
	return answer, nil
}

func timeoutError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrTimeout, context.Cause(ctx))
	}
	return context.Cause(ctx)
}

// sayHello sends hello again and again until ctx ends or conn fails (which the
// reader notices too).
func (c *hostConn) sayHello(ctx context.Context, hello []byte) {
	start := time.Now()
	for {
		err := c.wire.write(hello, ctx.Err)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			// Nobody takes anything yet. A Hello cut in half does no harm.
		case err != nil:
			_ = c.conn.SetReadDeadline(time.Unix(1, 0))
			return
		}
		wait := helloInterval
		if time.Since(start) > helloEager {
			wait = helloIntervalLate
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// awaitAnswer drops everything that comes before the answer to our Hello.
func (c *hostConn) awaitAnswer() (ack, error) {
	ours := func(f frame) bool {
		return f.nonce == c.nonce && (f.kind == kindAck || f.kind == kindReject)
	}
	c.scanner.urgent = ours
	for {
		f, err := c.scanner.next()
		switch {
		case err != nil:
			return ack{}, fmt.Errorf("%w: %w", ErrLost, err)
		case !ours(f):
			continue
		case f.kind == kindReject:
			reason := refusedMalformed
			if len(f.payload) == 1 {
				reason = refusal(f.payload[0])
			}
			return ack{}, fmt.Errorf("%w: %s", ErrRefused, reason)
		}
		c.scanner.urgent = nil
		c.skipped = c.scanner.skipped
		return parseAck(f.payload)
	}
}

// Read returns the session's bytes. Anything else in the stream ends the session:
// after the guest's answer all bytes are its, in order.
func (c *hostConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		// While a write is stuck nothing more is taken in: what a guest sends may call
		// for answers, which would pile up.
		c.wire.settled()
		f, err := c.scanner.next()
		if err == nil {
			err = c.take(f)
		}
		if err != nil {
			c.fail(fmt.Errorf("%w: %w", ErrLost, err))
			return 0, c.failure()
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *hostConn) take(f frame) error {
	switch {
	case c.scanner.skipped != c.skipped:
		return errors.New("foreign bytes in the stream")
	case f.nonce != c.nonce:
		return nil // a farewell to a session before this one
	case f.kind == kindBye:
		return errors.New("the guest ended the session")
	case f.kind != kindData:
		return nil // an answer to a repeated Hello
	case f.seq != c.expect:
		return fmt.Errorf("frame %d where %d was due", f.seq, c.expect)
	}
	c.expect++
	c.rest = f.payload
	return nil
}

// fail notes why the session ends; the first reason stays.
func (c *hostConn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

func (c *hostConn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// cause is the noted reason, or the multiplexer's.
func (c *hostConn) cause(err error) error {
	if noted := c.failure(); noted != nil {
		return noted
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}

// Close says goodbye and closes the connection.
func (c *hostConn) Close() error {
	var err error
	c.closeOnce.Do(func() {
		c.wire.tryWrite(encode(kindBye, c.nonce, nil))
		err = c.conn.Close()
	})
	return err
}
