package sandbox

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/link"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"

	"github.com/go-logr/logr"
)

// host is a client over a byte link, whose guest is the service.
type host struct {
	sandboxpb.SandboxContextClient
	t       *testing.T
	ctx     context.Context
	session *link.Session
}

// serve connects a client with a Sandbox over a pipe.
func serve(t *testing.T, opt Options) *host {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	near, far := net.Pipe()
	guest := link.NewGuest(far, link.GuestOptions{BootID: "boot", AgentVersion: "test", Log: logr.Discard()})
	box := New(opt)
	server := grpc.NewServer(agent.ServerOptions(logr.Discard())...)
	sandboxpb.RegisterSandboxContextServer(server, box.Over(NewLinkPorts(guest.Listen, Port)))
	ended := make(chan error, 2)
	listener := guest.Listen(Port)
	go func() { ended <- server.Serve(listener) }()
	go func() { ended <- guest.Run(context.WithoutCancel(ctx)) }()
	session, err := link.Open(ctx, near, link.Hello{MachineID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:box", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return session.Dial(ctx, Port) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		_, _ = conn.Close(), session.Close()
		_ = far.Close()
		for range 2 {
			if err := <-ended; err != nil && !errors.Is(err, net.ErrClosed) {
				t.Logf("at the end: %v", err)
			}
		}
		cancel()
	})
	return &host{SandboxContextClient: sandboxpb.NewSandboxContextClient(conn), t: t, ctx: ctx, session: session}
}

// dial opens a stream as soon as the guest waits for it.
func (h *host) dial(port uint32) net.Conn {
	for {
		conn, err := h.session.Dial(h.ctx, port)
		if err == nil {
			return conn
		}
		if !errors.Is(err, link.ErrPortRefused) {
			h.t.Errorf("dial port %d: %v", port, err)
			return nil
		}
		time.Sleep(time.Millisecond) // the guest may wait at any time
	}
}
