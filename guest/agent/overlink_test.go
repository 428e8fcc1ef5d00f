package agent

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/link"
)

// overLink serves an agent as a guest does and returns a client as a host makes it.
func overLink(tb testing.TB) (agentpb.AgentClient, *link.Session) {
	tb.Helper()
	host, guest := net.Pipe()
	a := New(newFakeRuntime("boot-1", newDisk()), Options{Version: "v", Log: logr.Discard()})
	g := link.NewGuest(guest, link.GuestOptions{BootID: "boot-1", AgentVersion: "v", Log: logr.Discard()})
	srv := NewServer(a)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	listener := g.Listen(link.AgentPort)
	wg.Go(func() { _ = srv.Serve(listener) })
	wg.Go(func() { _ = g.Run(ctx) })
	s, err := link.Open(tb.Context(), host, link.Hello{MachineID: "m"})
	if err != nil {
		tb.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:guest", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.Dial(ctx, link.AgentPort) }))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = conn.Close()
		srv.Stop()
		_ = s.Close()
		cancel()
		wg.Wait()
		a.Close()
	})
	return agentpb.NewAgentClient(conn), s
}

func TestOverLink_CallsAndItsEnd(t *testing.T) {
	c, s := overLink(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.Configure(ctx, &agentpb.ConfigureRequest{Pod: testIdentity}); err != nil {
		t.Fatal(err)
	}
	w, err := c.Watch(ctx, &agentpb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if _, err := w.Recv(); err == nil || ctx.Err() != nil {
		t.Errorf("a call over a closed session: %v", err)
	}
}

func BenchmarkOverLink_Describe(b *testing.B) {
	c, _ := overLink(b)
	if _, err := c.Describe(b.Context(), &agentpb.DescribeRequest{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Describe(b.Context(), &agentpb.DescribeRequest{}); err != nil {
			b.Fatal(err)
		}
	}
}
