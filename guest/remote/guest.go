package remote

import (
	"context"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// Guest is the pod service of a guest that has none: the agent runs here.
type Guest struct {
	rt     *Runtime
	agent  *agent.Agent
	server *grpc.Server
	conn   *grpc.ClientConn
	served sync.WaitGroup
}

// NewGuest makes the pod service for one boot of a guest, whose version is its own word. Close ends it.
func NewGuest(version string, opt Options) (*Guest, error) {
	pipe := newPipe()
	conn, err := grpc.NewClient("passthrough:agent",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.dial(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(agent.MaxMessage), grpc.MaxCallSendMsgSize(agent.MaxMessage)),
		grpc.WithMaxHeaderListSize(agent.MaxHeaders), grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0))
	if err != nil {
		return nil, fmt.Errorf("connect with the pod's agent: %w", err)
	}
	g := &Guest{rt: New(opt), conn: conn}
	g.agent = agent.New(g.rt, agent.Options{Version: agentpb.SandboxPrefix + version, Log: opt.Log})
	g.server = grpc.NewServer(append(agent.ServerOptions(opt.Log), grpc.WaitForHandlers(true))...)
	agentpb.RegisterAgentServer(g.server, g.agent)
	g.served.Go(func() { _ = g.server.Serve(pipe) }) // ends with Stop
	return g, nil
}

// Conn is where the pod service is reached.
func (g *Guest) Conn() *grpc.ClientConn { return g.conn }

// BootID is that of the guest's boot.
func (g *Guest) BootID() string { return g.rt.BootID() }

// Attach has the pod service use a session with the guest, in the place of the one before.
func (g *Guest) Attach(conn grpc.ClientConnInterface, streams Streams) { g.rt.Attach(conn, streams) }

// Detach says that the session is over.
func (g *Guest) Detach() { g.rt.Detach() }

// Close ends the pod service and returns its records, for the guest's next boot. What runs in the
// guest is left as it is.
func (g *Guest) Close() []byte {
	g.rt.Detach()
	g.agent.Close()
	state := g.rt.State()
	_ = g.conn.Close() // calls end with it
	g.server.Stop()
	g.served.Wait()
	g.rt.Close()
	return state
}
