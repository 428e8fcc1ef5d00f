package sandbox

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeListener gives out what it is told to.
type fakeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *fakeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *fakeListener) Addr() net.Addr { return nil }

func newFakeListener() *fakeListener {
	return &fakeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func TestLinkPortsWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeListener()
		p := NewLinkPorts(func(uint32) net.Listener { return l })
		began := time.Now()
		_, err := p.Dial(t.Context(), 5)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != linkWait {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		select {
		case <-l.done:
		default:
			t.Error("the port is still open")
		}
	})
}

func TestLinkPortsShareAPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		l := newFakeListener()
		p := NewLinkPorts(func(uint32) net.Listener { opened++; return l })
		got := make(chan net.Conn, 2)
		for range 2 {
			go func() {
				conn, err := p.Dial(t.Context(), 5)
				if err != nil {
					t.Error(err)
				}
				got <- conn
			}()
		}
		synctest.Wait()
		one, two := net.Pipe()
		l.conns <- one
		l.conns <- two
		if a, b := <-got, <-got; a == b || opened != 1 {
			t.Errorf("opened %d times", opened)
		}
		_, _ = one.Close(), two.Close()
	})
}

func TestLinkPortsReserved(t *testing.T) {
	p := NewLinkPorts(func(uint32) net.Listener { return newFakeListener() }, Port)
	if _, err := p.Dial(t.Context(), Port); !errors.Is(err, errPortTaken) {
		t.Errorf("dial: %v", err)
	}
	if _, err := p.Listen(Port); !errors.Is(err, errPortTaken) {
		t.Errorf("listen: %v", err)
	}
	l, err := p.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Dial(t.Context(), 7); !errors.Is(err, errPortTaken) {
		t.Errorf("dial where one listens: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = p.Listen(7); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}
