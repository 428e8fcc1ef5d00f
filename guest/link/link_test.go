package link

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testHello = Hello{Token: [16]byte{1, 2, 3}, MachineID: "m-1"}

// port stands for a guest's serial port: hosts come and go, and what a host sent
// before it left is still read.
type port struct {
	mu    sync.Mutex
	cond  *sync.Cond
	in    []byte // from hosts, not yet read
	out   net.Conn
	gone  bool
	hosts sync.WaitGroup
}

func newPort() *port {
	p := &port{}
	p.cond = sync.NewCond(&p.mu)
	return p
}

// inject puts bytes before whatever comes next.
func (p *port) inject(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.in = append(p.in, b...)
	p.cond.Broadcast()
}

// connect makes a host's end; the host before it is cut off.
func (p *port) connect() net.Conn {
	host, guest := net.Pipe()
	p.mu.Lock()
	if p.out != nil {
		_ = p.out.Close()
	}
	p.out = guest
	p.mu.Unlock()
	p.hosts.Go(func() {
		b := make([]byte, 4096)
		for {
			n, err := guest.Read(b)
			if n > 0 {
				p.inject(b[:n])
			}
			if err != nil {
				return
			}
		}
	})
	return host
}

func (p *port) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.in) == 0 && !p.gone {
		p.cond.Wait()
	}
	if p.gone {
		return 0, net.ErrClosed
	}
	n := copy(b, p.in)
	p.in = p.in[n:]
	return n, nil
}

// Write loses what no host takes, as a serial port does.
func (p *port) Write(b []byte) (int, error) {
	p.mu.Lock()
	out, gone := p.out, p.gone
	p.mu.Unlock()
	if gone {
		return 0, net.ErrClosed
	}
	if out != nil {
		_, _ = out.Write(b)
	}
	return len(b), nil
}

func (p *port) Close() error {
	p.mu.Lock()
	p.gone = true
	if p.out != nil {
		_ = p.out.Close()
	}
	p.cond.Broadcast()
	p.mu.Unlock()
	p.hosts.Wait()
	return nil
}

// startGuest runs a guest whose AgentPort echoes, until the test ends.
func startGuest(t testing.TB, rw io.ReadWriteCloser) *Guest {
	t.Helper()
	g := NewGuest(rw, GuestOptions{BootID: "boot-1", AgentVersion: "v1"})
	l := g.Listen(AgentPort)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.Run(ctx); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("Run: %v", err)
		}
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		wg.Wait()
	})
	return g
}

func open(t testing.TB, conn net.Conn, h Hello) *Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := Open(ctx, conn, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func dial(t testing.TB, s *Session) net.Conn {
	t.Helper()
	c, err := s.Dial(t.Context(), AgentPort)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// echo sends text and wants it back.
func echo(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	if string(b) != text {
		t.Fatalf("echo of %q gave %q", text, b)
	}
}

func TestSession_StreamsAndBootID(t *testing.T) {
	p := newPort()
	startGuest(t, p)
	s := open(t, p.connect(), testHello)
	if s.BootID() != "boot-1" || s.AgentVersion() != "v1" {
		t.Errorf("got boot %q, version %q", s.BootID(), s.AgentVersion())
	}
	a, b := dial(t, s), dial(t, s)
	echo(t, a, "one")
	echo(t, b, "two")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	echo(t, b, "three")
	if err := s.Err(); err != nil {
		t.Errorf("Err of a living session: %v", err)
	}
	_ = s.Close()
	if err := s.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("Err after Close: %v", err)
	}
	if _, err := s.Dial(t.Context(), AgentPort); !errors.Is(err, ErrClosed) {
		t.Errorf("Dial after Close: %v", err)
	}
}

func TestDial_UnknownPort(t *testing.T) {
	p := newPort()
	startGuest(t, p)
	s := open(t, p.connect(), testHello)
	if _, err := s.Dial(t.Context(), 7); !errors.Is(err, ErrPortRefused) {
		t.Fatalf("got %v", err)
	}
	echo(t, dial(t, s), "still there")
}

func TestTheFirstHelloWakesTheGuest(t *testing.T) {
	p := newPort()
	woken := 0
	guest := NewGuest(p, GuestOptions{
		Wake: func(h Hello) string {
			woken++
			return "boot-of-" + h.MachineID
		},
		AgentVersion: "v1",
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := guest.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		s, err := Open(t.Context(), p.connect(), testHello)
		if err != nil {
			t.Fatal(err)
		}
		if s.BootID() != "boot-of-m-1" {
			t.Errorf("boot id = %s", s.BootID())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	cancel()
	wg.Wait()
	p.hosts.Wait()
	if woken != 1 {
		t.Errorf("woken %d times", woken)
	}
}
