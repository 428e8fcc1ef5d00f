package vz

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"github.com/go-logr/logr/testr"
)

// deaf is a listener as the framework's binding has it: closing it wakes nobody.
type deaf struct {
	net.Listener
	conns chan net.Conn
}

func (d deaf) Accept() (net.Conn, error) { return <-d.conns, nil }
func (d deaf) Close() error              { return nil }

// wired is a machine whose guest connects to ports of the host.
type wired struct {
	machine
	listener net.Listener
}

var errTaken = errors.New("the port is taken")

func (w wired) listen(port uint32) (net.Listener, error) {
	if port != 7 {
		return nil, errTaken
	}
	return w.listener, nil
}

func TestPortsOfTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := deaf{conns: make(chan net.Conn, 1)}
		vm := newVM(wired{listener: d}, mac(), testr.New(t))
		if _, err := vm.ListenPort(8); !errors.Is(err, errTaken) {
			t.Errorf("port 8: %v", err)
		}
		l, err := vm.ListenPort(7)
		if err != nil {
			t.Fatal(err)
		}
		near, far := net.Pipe()
		d.conns <- near
		if conn, err := l.Accept(); err != nil || conn != near {
			t.Errorf("accepted %v, %v", conn, err)
		}
		ended := make(chan error)
		go func() {
			_, err := l.Accept()
			ended <- err
		}()
		synctest.Wait()
		for range 2 {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		d.conns <- near // one that comes too late
		if _, err := far.Read(make([]byte, 1)); err == nil {
			t.Error("a connection that nobody takes stays open")
		}
	})
}
