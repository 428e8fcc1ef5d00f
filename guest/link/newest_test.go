package link

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// hosts is a listener for a Newest, and how to connect to it: over a pair of sockets, which
// buffer what is written, as vsock does.
type hosts struct {
	net.Listener
	t *testing.T
}

func newHosts(t *testing.T) hosts {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	return hosts{Listener: l, t: t}
}

func (h hosts) connect() net.Conn {
	h.t.Helper()
	conn, err := net.Dial("unix", h.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	return conn
}

func TestNewest_ASessionOnEachConnection(t *testing.T) {
	h := newHosts(t)
	g := startGuest(t, NewNewest(h.Listener))
	for range 3 {
		s := open(t, h.connect(), testHello)
		echo(t, dial(t, s), "hello")
		_ = s.Close()
	}
	if st := g.Stats(); st.Sessions != 3 {
		t.Errorf("stats %+v", st)
	}
}

// TestNewest_TheOneBeforeEnds: a connection that comes while another is in use takes over,
// and the other's host is told by its end.
func TestNewest_TheOneBeforeEnds(t *testing.T) {
	h := newHosts(t)
	startGuest(t, NewNewest(h.Listener))
	first := open(t, h.connect(), testHello)
	stream := dial(t, first)
	echo(t, stream, "hello")
	second := open(t, h.connect(), testHello)
	echo(t, dial(t, second), "hello")
	select {
	case <-first.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("the first session goes on")
	}
	if _, err := stream.Read(make([]byte, 1)); err == nil {
		t.Error("a stream of the first session goes on")
	}
}

// TestNewest_LeftoversDoNotMatter: half frames and silence on connections before change
// nothing about the session of the one after.
func TestNewest_LeftoversDoNotMatter(t *testing.T) {
	h := newHosts(t)
	g := startGuest(t, NewNewest(h.Listener))
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		broken := h.connect()
		if _, err := broken.Write(leftovers(rnd, rnd.Uint64())); err != nil {
			t.Fatal(err)
		}
		if rnd.IntN(2) == 0 {
			_ = broken.Close()
		}
		s := open(t, h.connect(), testHello)
		echo(t, dial(t, s), "hello")
		_ = s.Close()
		_ = broken.Close()
	}
	if st := g.Stats(); st.Sessions != 100 || st.Refused != 0 {
		t.Errorf("stats %+v", st)
	}
}

// TestNewest_AHostThatReadsNothing does not keep the next one out.
func TestNewest_AHostThatReadsNothing(t *testing.T) {
	h := newHosts(t)
	n := NewNewest(h.Listener)
	deaf := h.connect()
	defer func() { _ = deaf.Close() }()
	if _, err := deaf.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(n, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			_, err = n.Write(make([]byte, 1<<20))
		}
		written <- err
	}()
	next := h.connect()
	defer func() { _ = next.Close() }()
	if err := <-written; err == nil {
		t.Error("written into the void")
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if _, err := n.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}

// TestGuestsShareAnOwner: a machine with two streams is the one's who came first on either.
func TestGuestsShareAnOwner(t *testing.T) {
	woken := 0
	opt := GuestOptions{AgentVersion: "v1", Owner: &Owner{}, Wake: func(Hello) string {
		woken++
		return "boot-2"
	}}
	ctx, cancel := context.WithCancel(t.Context())
	var ports [2]*port
	ended := make(chan error, len(ports))
	for i := range ports {
		ports[i] = newPort()
		g := NewGuest(ports[i], opt)
		go func() { ended <- g.Run(ctx) }()
	}
	for i, p := range ports {
		if s := open(t, p.connect(), testHello); s.BootID() != "boot-2" {
			t.Errorf("stream %d: boot id %q", i, s.BootID())
		}
	}
	other := testHello
	other.Token[0]++
	for i, p := range ports {
		if _, err := Open(ctx, p.connect(), other); !errors.Is(err, ErrRefused) {
			t.Errorf("stream %d: another token: %v", i, err)
		}
	}
	cancel()
	for range ports {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if woken != 1 {
		t.Errorf("woken %d times", woken)
	}
}
