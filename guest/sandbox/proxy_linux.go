package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// maxRelays bounds the connections of one relay.
const maxRelays = 1024

// proxy relays connections between a unix socket and a port.
type proxy struct {
	listener net.Listener
	dial     func(ctx context.Context) (net.Conn, error)
	log      logr.Logger
	cancel   context.CancelFunc
	slots    chan struct{}
	wg       sync.WaitGroup
}

// ProxyVsock implements sandboxpb.SandboxContextServer.
func (s Service) ProxyVsock(_ context.Context, req *sandboxpb.ProxyVsockRequest) (*sandboxpb.ProxyVsockResponse, error) {
	if err := s.relay(s.ports, req); err != nil {
		return nil, failure(err, "relay %s", req.GetId())
	}
	return &sandboxpb.ProxyVsockResponse{}, nil
}

func (s *Sandbox) relay(ports Ports, req *sandboxpb.ProxyVsockRequest) error {
	if req.GetId() == "" || req.GetGuestPath() == "" {
		return invalid("no id or no path of a socket")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%w: the machine is going down", errState)
	}
	if s.proxies[req.GetId()] != nil {
		return syscall.EEXIST
	}
	p := &proxy{log: s.opt.Log.WithValues("relay", req.GetId()), slots: make(chan struct{}, maxRelays)}
	var err error
	switch req.GetAction() {
	case sandboxpb.ProxyVsockRequest_INTO:
		p.dial = func(ctx context.Context) (net.Conn, error) { return ports.Dial(ctx, req.GetVsockPort()) }
		p.listener, err = listenSocket(req)
	case sandboxpb.ProxyVsockRequest_OUT_OF:
		p.dial = func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", req.GetGuestPath())
		}
		p.listener, err = ports.Listen(req.GetVsockPort())
	default:
		return invalid("action %v", req.GetAction())
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.wg.Go(func() { p.serve(ctx) })
	s.proxies[req.GetId()] = p
	return nil
}

// listenSocket makes the socket in the guest; one that is left from before is replaced.
func listenSocket(req *sandboxpb.ProxyVsockRequest) (net.Listener, error) {
	path := req.GetGuestPath()
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if req.GuestSocketPermissions != nil {
		if err := os.Chmod(path, os.FileMode(req.GetGuestSocketPermissions()&0o777)); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// StopVsockProxy implements sandboxpb.SandboxContextServer.
func (s Service) StopVsockProxy(_ context.Context, req *sandboxpb.StopVsockProxyRequest) (*sandboxpb.StopVsockProxyResponse, error) {
	s.mu.Lock()
	p := s.proxies[req.GetId()]
	delete(s.proxies, req.GetId())
	s.mu.Unlock()
	if p == nil {
		return nil, failure(agent.ErrNotFound, "stop relay %s", req.GetId())
	}
	if err := p.close(); err != nil {
		return nil, failure(err, "stop relay %s", req.GetId())
	}
	return &sandboxpb.StopVsockProxyResponse{}, nil
}

// close ends the relay with all its connections.
func (p *proxy) close() error {
	p.cancel()
	err := p.listener.Close()
	p.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (p *proxy) serve(ctx context.Context) {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			p.log.Error(err, "a connection has to wait")
			select {
			case <-time.After(time.Second):
				continue
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return // closed
		}
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			_ = conn.Close() // all end now
			return
		}
		p.wg.Go(func() {
			defer func() { <-p.slots }()
			if err := p.relay(ctx, conn); err != nil {
				p.log.Info("connection not relayed", "cause", err.Error())
			}
		})
	}
}

func (p *proxy) relay(ctx context.Context, from net.Conn) error {
	defer func() { _ = from.Close() }() // what came was relayed, or nobody wants it
	to, err := p.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }() // as above
	stop := context.AfterFunc(ctx, func() { _, _ = from.Close(), to.Close() })
	defer stop()
	var back sync.WaitGroup
	back.Go(func() { pump(from, to) })
	pump(to, from)
	back.Wait()
	return nil
}

// pump copies until the end of from, which it passes on.
func pump(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite() // a peer that is gone needs no end
		return
	}
	_ = to.Close() // as above; without half-closed connections there is no more to say
}
