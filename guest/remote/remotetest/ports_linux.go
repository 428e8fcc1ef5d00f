package remotetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/sandbox"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// Ports are what a guest and its host reach each other by where there is no vsock: sockets in a
// directory, whose path is short.
type Ports struct{ Dir string }

// DialPort connects with a port of the guest.
func (p Ports) DialPort(ctx context.Context, port uint32) (net.Conn, error) {
	return p.dial(ctx, "guest", port)
}

// ListenPort listens on a port of the host.
func (p Ports) ListenPort(port uint32) (net.Listener, error) { return p.listen("host", port) }

func (p Ports) dial(ctx context.Context, side string, port uint32) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", p.path(side, port))
}

func (p Ports) listen(side string, port uint32) (net.Listener, error) {
	return net.Listen("unix", p.path(side, port))
}

func (p Ports) path(side string, port uint32) string {
	return filepath.Join(p.Dir, fmt.Sprintf("%s-%d", side, port))
}

// guestPorts are the ports as the guest uses them.
type guestPorts struct{ ports Ports }

var _ sandbox.Ports = guestPorts{}

// Dial implements sandbox.Ports.
func (g guestPorts) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	return g.ports.dial(ctx, "host", port)
}

// Listen implements sandbox.Ports.
func (g guestPorts) Listen(port uint32) (net.Listener, error) { return g.ports.listen("guest", port) }

// ServePorts begins to serve the contract as plain gRPC on a port, without a link, as Apple's
// vminitd does. stop ends it, with all connections.
func (g *Guest) ServePorts(ports Ports, port uint32) (stop func() error, _ error) {
	l, err := ports.listen("guest", port)
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer(agent.ServerOptions(logr.Discard())...)
	side := guestPorts{ports}
	sandboxpb.RegisterSandboxContextServer(server, service{Service: g.box.Over(side), files: g.Files, ports: side})
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	return func() error {
		server.Stop()
		if err := <-served; !errors.Is(err, grpc.ErrServerStopped) {
			return err
		}
		return nil
	}, nil
}
