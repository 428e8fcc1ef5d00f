package link

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

	"github.com/go-logr/logr"
)

// How long Run waits after a failed read: from the first, doubling up to the last.
const (
	readRetryFirst = time.Millisecond
	readRetryLast  = 100 * time.Millisecond
)

// reackInterval is the least time between two answers to the same Hello.
const reackInterval = 20 * time.Millisecond

// GuestOptions say who the guest is. BootID and AgentVersion are at most 128
// printable ASCII characters.
type GuestOptions struct {
	// BootID is that of a guest that needs no waking (Wake is nil).
	BootID string
	// Wake is called with the first Hello of the machine's life, before it is answered, and
	// returns the boot id. What makes machines differ that were copied from one is done there.
	Wake         func(Hello) (bootID string)
	AgentVersion string
	// Owner is shared by the guests of a machine with several streams, which have the same
	// Wake and BootID too; nil for the only one.
	Owner *Owner
	Log   logr.Logger
}

// Stats counts what a guest has met on its stream.
type Stats struct {
	// Sessions were opened, Refused Hellos answered with a refusal.
	Sessions, Refused uint64
	// StaleFrames were whole but of no living session.
	StaleFrames uint64
	// SkippedBytes belonged to no frame.
	SkippedBytes uint64
}

// Guest answers a host's sessions, one at a time, over a byte stream.
type Guest struct {
	rw   io.ReadWriteCloser
	opt  GuestOptions
	wire *wire
	wg   sync.WaitGroup
	done chan struct{} // closed when Run returns

	mu        sync.Mutex
	listeners map[uint32]*listener

	sessions, refused, stale, skipped atomic.Uint64

	// Of Run's goroutine alone:
	current  *guestSession
	farewell uint64 // the last nonce that was told that its session is over
}

// NewGuest makes a guest over rw, whose Read must block while there is nothing to
// read (or no host) and return when rw is closed.
func NewGuest(rw io.ReadWriteCloser, opt GuestOptions) *Guest {
	if opt.Owner == nil {
		opt.Owner = &Owner{}
	}
	return &Guest{rw: rw, opt: opt, wire: newWire(rw), done: make(chan struct{}), listeners: make(map[uint32]*listener)}
}

// Listen returns a listener for port, whose streams may come from any session. A
// port can be listened on once: a second Listen before the first one's Close is a
// mistake of the program and panics.
func (g *Guest) Listen(port uint32) net.Listener {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listeners[port] != nil {
		panic(fmt.Sprintf("link: second Listen on port %d", port))
	}
	l := &listener{port: port, guest: g, conns: make(chan net.Conn, backlog), done: make(chan struct{})}
	g.listeners[port] = l
	return l
}

func (g *Guest) unlisten(port uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.listeners, port)
}

func (g *Guest) listener(port uint32) *listener {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.listeners[port]
}

// Stats returns the counts so far.
func (g *Guest) Stats() Stats {
	return Stats{
		Sessions:     g.sessions.Load(),
		Refused:      g.refused.Load(),
		StaleFrames:  g.stale.Load(),
		SkippedBytes: g.skipped.Load(),
	}
}

// Run serves sessions until ctx ends (nil) or the stream is closed for good. It
// closes the stream, and returns once its goroutines have ended; listeners accept
// nothing from then on. An end of file
// ends the session only: a host may come (back) later. Run may be called once.
func (g *Guest) Run(ctx context.Context) error {
	if !validText(g.opt.BootID) || !validText(g.opt.AgentVersion) {
		return errors.New("run link: boot id or agent version is too long or not printable")
	}
	defer close(g.done)
	closeStream := sync.OnceFunc(func() { _ = g.rw.Close() })
	stop := context.AfterFunc(ctx, closeStream)
	defer g.wg.Wait()
	defer closeStream()
	defer stop()
	defer g.end(ErrClosed)
	err := g.read(ctx)
	if ctx.Err() != nil {
		return nil // as asked
	}
	return err
}

// read handles frames until ctx ends or the stream is closed for good.
func (g *Guest) read(ctx context.Context) error {
	sc := newScanner(g.rw)
	sc.urgent = g.genuine
	retry := readRetryFirst
	for {
		f, err := sc.next()
		g.skipped.Store(sc.skipped)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			retry = readRetryFirst
			g.handle(f)
			continue
		case errors.Is(err, os.ErrClosed), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
			return fmt.Errorf("read link: %w", err)
		case errors.Is(err, io.EOF):
			g.end(fmt.Errorf("%w: %w", ErrLost, err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retry):
			retry = min(2*retry, readRetryLast)
		}
	}
}

// genuine tells whether a frame found inside an unfinished one is a Hello that
// nobody else can have made.
func (g *Guest) genuine(f frame) bool {
	if f.kind != kindHello {
		return false
	}
	h, err := parseHello(f.payload)
	return err == nil && g.opt.Owner.plausible(h)
}

func (g *Guest) handle(f frame) {
	switch f.kind {
	case kindHello:
		g.hello(f)
	case kindData:
		g.data(f)
	case kindBye:
		if g.current != nil && g.current.nonce == f.nonce {
			g.end(errHostLeft)
		}
	default:
		g.stale.Add(1)
	}
}

func (g *Guest) hello(f frame) {
	h, err := parseHello(f.payload)
	switch {
	case errors.Is(err, errVersion):
		g.refuse(f.nonce, refusedVersion)
		return
	case err != nil:
		g.refuse(f.nonce, refusedMalformed)
		return
	}
	bootID, ok := g.opt.Owner.claim(h, g.wake)
	if !ok {
		g.refuse(f.nonce, refusedToken)
		return
	}
	if s := g.current; s != nil && s.nonce == f.nonce && !s.over() {
		if s.expect == 0 && time.Since(s.answered) >= reackInterval {
			g.answer(s, bootID)
		}
		return
	}
	g.end(ErrReplaced)
	s := newGuestSession(g, f.nonce)
	g.answer(s, bootID)
	g.current = s
	g.sessions.Add(1)
	g.wg.Go(s.serve)
	g.opt.Log.V(1).Info("link session opened", "machine", h.MachineID)
}

// wake returns the boot's id.
func (g *Guest) wake(h Hello) string {
	if g.opt.Wake != nil {
		if id := g.opt.Wake(h); validText(id) {
			return id
		}
	}
	return g.opt.BootID
}

func (g *Guest) answer(s *guestSession, bootID string) {
	a := ack{bootID: bootID, agentVersion: g.opt.AgentVersion}
	if err := g.wire.write(encode(kindAck, s.nonce, a.marshal()), nil); err != nil {
		g.opt.Log.V(1).Info("link answer not sent", "cause", err.Error())
	}
	s.answered = time.Now()
}

func (g *Guest) refuse(nonce uint64, why refusal) {
	g.refused.Add(1)
	g.opt.Log.Info("link session refused", "reason", why.String())
	if err := g.wire.write(encode(kindReject, nonce, []byte{byte(why)}), nil); err != nil {
		g.opt.Log.V(1).Info("link refusal not sent", "cause", err.Error())
	}
}

func (g *Guest) data(f frame) {
	s := g.current
	switch {
	case s == nil || s.nonce != f.nonce || s.over():
		g.stale.Add(1)
		if g.farewell != f.nonce && g.wire.tryWrite(encode(kindBye, f.nonce, nil)) {
			g.farewell = f.nonce
		}
	case s.expect != f.seq:
		g.end(fmt.Errorf("%w: frame %d where %d was due", ErrLost, f.seq, s.expect))
	default:
		s.expect++
		s.deliver(f.payload)
	}
}

// end ends the current session without waiting for its goroutines.
func (g *Guest) end(cause error) {
	if g.current == nil {
		return
	}
	g.current.shut(cause)
	g.current = nil
	g.opt.Log.V(1).Info("link session ended", "cause", cause.Error())
}
