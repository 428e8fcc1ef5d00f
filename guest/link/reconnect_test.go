package link

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// leftovers is what a stream may hold of sessions before: garbage, whole and half
// frames of other nonces, and a half frame that claims more than will ever come.
func leftovers(rnd *rand.Rand, nonce uint64) []byte {
	var b []byte
	for range rnd.IntN(4) {
		switch rnd.IntN(4) {
		case 0:
			junk := make([]byte, rnd.IntN(2000))
			for i := range junk {
				junk[i] = byte(rnd.Uint32())
			}
			b = append(b, junk...)
		case 1:
			b = append(b, magic[:1+rnd.IntN(len(magic))]...)
		case 2:
			b = append(b, dataFrame(nonce, rnd.Uint32N(3), make([]byte, rnd.IntN(3000)))...)
		case 3:
			f := dataFrame(nonce, rnd.Uint32N(3), make([]byte, rnd.IntN(maxPayload+1)))
			b = append(b, f[:rnd.IntN(len(f)+1)]...)
		}
	}
	return b
}

func dataFrame(nonce uint64, seq uint32, payload []byte) []byte {
	b := append(make([]byte, headerSize), payload...)
	seal(b, kindData, nonce, seq)
	return b
}

func TestReconnect_1000SeedsOfLeftovers(t *testing.T) {
	p := newPort()
	g := startGuest(t, p)
	var last uint64
	for seed := range uint64(1000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		p.inject(leftovers(rnd, last))
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		s, err := Open(ctx, p.connect(), testHello)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		last = s.conn.nonce
		c, err := s.Dial(ctx, AgentPort)
		cancel()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		echo(t, c, "hello")
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("seed %d took %v", seed, took)
		}
		if seed%2 == 0 { // half of the hosts leave without a word
			s.conn.closeOnce.Do(func() { _ = s.conn.conn.Close() })
		}
		_ = s.Close()
	}
	if st := g.Stats(); st.Sessions != 1000 || st.Refused != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestSession_OldFramesAreNeverAccepted(t *testing.T) {
	p := newPort()
	g := startGuest(t, p)
	old := open(t, p.connect(), testHello)
	s := open(t, p.connect(), testHello)
	<-old.Done() // and nothing of it writes any more
	stale := dataFrame(old.conn.nonce, old.conn.seq, []byte("wrong session"))
	c := dial(t, s)
	for range 100 {
		p.inject(stale)
	}
	echo(t, c, "right session")
	if st := g.Stats(); st.StaleFrames < 100 || st.Sessions != 2 {
		t.Errorf("stats %+v", st)
	}
}

func TestSession_NewHelloEndsTheOldOne(t *testing.T) {
	p := newPort()
	g := NewGuest(p, GuestOptions{BootID: "b"})
	l := g.Listen(9)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after Run: %v", err)
		}
	}()
	s := open(t, p.connect(), testHello)
	if _, err := s.Dial(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	guestEnd, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s2 := open(t, p.connect(), testHello)
	if _, err := guestEnd.Read(make([]byte, 1)); err == nil {
		t.Error("a stream of the old session still reads")
	}
	if _, err := s2.Dial(t.Context(), 9); err != nil {
		t.Error(err)
	}
}

func TestOpen_WrongTokenIsRefused100Of100(t *testing.T) {
	p := newPort()
	g := startGuest(t, p)
	first := open(t, p.connect(), testHello)
	_ = first.Close()
	for i := range 100 {
		h := testHello
		if i%2 == 0 {
			h.Token[i%16] ^= byte(1 + i)
		} else {
			h.MachineID = "other"
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := Open(ctx, p.connect(), h)
		cancel()
		if !errors.Is(err, ErrRefused) {
			t.Fatalf("try %d: %v", i, err)
		}
	}
	if st := g.Stats(); st.Refused < 100 || st.Sessions != 1 {
		t.Errorf("stats %+v", st)
	}
	echo(t, dial(t, open(t, p.connect(), testHello)), "the owner is let in")
}

func TestOpen_RefusalLeavesTheSessionAlone(t *testing.T) {
	p := newPort()
	g := startGuest(t, p)
	s := open(t, p.connect(), testHello)
	c := dial(t, s)
	p.inject(encode(kindHello, 5, Hello{MachineID: "thief"}.marshal()))
	p.inject(encode(kindHello, 6, []byte{protocolVersion + 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}))
	p.inject(encode(kindHello, 7, nil))
	echo(t, c, "undisturbed")
	if st := g.Stats(); st.Refused != 3 {
		t.Errorf("stats %+v", st)
	}
}

// bubble is synctest.Test for code that uses yamux, which keeps timers in a global
// sync.Pool: those of a bubble must not be met outside of it, nor the reverse.
func bubble(t *testing.T, f func(*testing.T)) {
	emptyPools := func() {
		runtime.GC() // to the victim cache
		runtime.GC() // and out of it
	}
	emptyPools()
	defer emptyPools()
	synctest.Test(t, f)
}

func TestOpen_GuestComesLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPort()
		host := p.connect()
		var s *Session
		opened := make(chan struct{})
		go func() {
			defer close(opened)
			s = open(t, host, testHello)
		}()
		time.Sleep(7 * time.Second)
		p.mu.Lock()
		p.in = p.in[len(p.in)/3+1:] // some of what was sent is lost
		p.mu.Unlock()
		g := startGuest(t, p)
		<-opened
		echo(t, dial(t, s), "hello")
		if st := g.Stats(); st.Sessions != 1 {
			t.Errorf("stats %+v", st)
		}
		_ = s.Close()
	})
}

func TestOpen_NobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, read := range []bool{true, false} { // takes all and says nothing; takes nothing
			host, guest := net.Pipe()
			if read {
				go func() { _, _ = io.Copy(io.Discard, guest) }()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			start := time.Now()
			_, err := Open(ctx, host, testHello)
			cancel()
			if !errors.Is(err, ErrTimeout) || time.Since(start) != 30*time.Second {
				t.Errorf("got %v after %v", err, time.Since(start))
			}
			_ = guest.Close()
		}
	})
}

func TestOpen_ConnectionFails(t *testing.T) {
	host, guest := net.Pipe()
	_ = guest.Close()
	if _, err := Open(t.Context(), host, testHello); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	host, _ = net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, host, testHello); !errors.Is(err, context.Canceled) || errors.Is(err, ErrTimeout) {
		t.Errorf("got %v", err)
	}
}

func TestOpen_LeftoversBeforeTheAnswer(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		host, guest := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			f, err := newScanner(guest).next()
			if err != nil {
				t.Error(err)
				return
			}
			go func() { _, _ = io.Copy(io.Discard, guest) }()
			b := leftovers(rnd, 1)
			b = append(b, encode(kindReject, 1, []byte{byte(refusedToken)})...)
			b = append(b, encode(kindAck, f.nonce, ack{bootID: "b"}.marshal())...)
			_, _ = guest.Write(b)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		s, err := Open(ctx, host, testHello)
		cancel()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		<-done
		_ = s.Close()
		_ = guest.Close()
	}
}

func TestSession_LostBytesEndIt(t *testing.T) {
	p := newPort()
	startGuest(t, p)
	s := open(t, p.connect(), testHello)
	c := dial(t, s)
	// A frame from beyond a gap: the guest must give the session up and say so.
	p.inject(dataFrame(s.conn.nonce, 1000, []byte("after the gap")))
	select {
	case <-s.Done():
	case <-time.After(3 * time.Second):
		t.Fatal("the host was not told")
	}
	if err := s.Err(); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a stream of a lost session still reads")
	}
	echo(t, dial(t, open(t, p.connect(), testHello)), "again")
}

func TestSession_HalfOpenConnectionEndsByKeepalive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPort()
		startGuest(t, p)
		a, b := net.Pipe()
		far := p.connect()
		var cut atomic.Bool
		copied := make(chan struct{}, 2)
		go func() {
			_, _ = io.Copy(far, b)
			copied <- struct{}{}
		}()
		go func() {
			buf := make([]byte, 4096)
			for {
				n, err := far.Read(buf)
				if err == nil && !cut.Load() {
					_, err = b.Write(buf[:n])
				}
				if err != nil {
					copied <- struct{}{}
					return
				}
			}
		}()
		s := open(t, a, testHello)
		synctest.Wait()
		cut.Store(true) // from now on nothing reaches the host
		start := time.Now()
		<-s.Done()
		if took := time.Since(start); took > pingInterval+pingTimeout || !errors.Is(s.Err(), ErrLost) {
			t.Errorf("ended after %v: %v", took, s.Err())
		}
		_, _ = b.Close(), far.Close()
		<-copied
		<-copied
	})
}

func TestGuest_EndOfFileIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rw := &emptyPort{}
		g := NewGuest(rw, GuestOptions{BootID: "b"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := g.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if rw.reads > 700 {
			t.Errorf("%d reads in a minute", rw.reads)
		}
	})
}

// emptyPort is a port without a host.
type emptyPort struct{ reads int }

func (p *emptyPort) Read([]byte) (int, error)    { p.reads++; return 0, io.EOF }
func (p *emptyPort) Write(b []byte) (int, error) { return len(b), nil }
func (p *emptyPort) Close() error                { return nil }

func TestHello_StringHidesTheToken(t *testing.T) {
	if s := testHello.String() + testHello.GoString(); s != "hello for machine m-1hello for machine m-1" {
		t.Errorf("got %q", s)
	}
}
