package stack

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// pipeEnd is an end of a flow in memory.
type pipeEnd struct {
	in, out chan string
}

func (e *pipeEnd) receive(ctx context.Context, f func([]byte) error) error {
	select {
	case s := <-e.in:
		return f([]byte(s))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (e *pipeEnd) send(b []byte) error {
	e.out <- string(b)
	return nil
}

func (e *pipeEnd) close() {}

func newPipeEnd() *pipeEnd {
	return &pipeEnd{in: make(chan string, 1), out: make(chan string, 1)}
}

func TestASilentFlowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipeEnd(), newPipeEnd()
		ended := make(chan struct{})
		began := time.Now()
		go func() {
			defer close(ended)
			carry(t.Context(), a, b)
		}()
		for _, way := range [][2]*pipeEnd{{a, b}, {b, a}, {a, b}} {
			time.Sleep(udpIdle - time.Second)
			way[0].in <- "packet"
			if got := <-way[1].out; got != "packet" {
				t.Errorf("%q came", got)
			}
		}
		<-ended
		if took, want := time.Since(began), 3*(udpIdle-time.Second)+udpIdle; took != want {
			t.Errorf("it ended after %s, want %s", took, want)
		}
	})
}

func TestSilentResolversAreGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		u := &upstream{path: path, port: dnsPort, dial: func(_ context.Context, proto, address string) (net.Conn, error) {
			asked = append(asked, proto+" "+address)
			near, far := net.Pipe()
			go func() { // takes the question, and says nothing
				b := make([]byte, maxUDPQuery)
				for {
					if _, err := far.Read(b); err != nil {
						return
					}
				}
			}()
			return near, nil
		}}
		began := time.Now()
		_, err := u.ask(t.Context(), "udp", query{}, []byte("question"))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(began); took != queryLimit {
			t.Errorf("given up after %s, want %s", took, queryLimit)
		}
		if len(asked) != 3 || asked[1] != "udp 192.0.2.2:53" {
			t.Errorf("asked %q", asked)
		}
	})
}
