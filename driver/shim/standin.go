package shim

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/remote"
)

// agentOf returns the connection on which the session's pod service is reached: the guest's own,
// or that of the agent which runs here when the guest serves the sandbox contract alone. The
// agent was asked who it is. leave ends its use of the session.
func (g *guest) agentOf(ctx context.Context, s session) (_ *grpc.ClientConn, leave func(), _ error) {
	err := g.confirm(ctx, agentpb.NewAgentClient(s.Conn()))
	if err == nil {
		return s.Conn(), func() {}, nil
	}
	if status.Code(err) != codes.Unimplemented {
		return nil, nil, err
	}
	if err := g.standIn(s); err != nil {
		return nil, nil, err
	}
	g.stand.Attach(s.Conn(), s.Streams())
	if err := g.confirm(ctx, agentpb.NewAgentClient(g.stand.Conn())); err != nil {
		g.stand.Detach()
		return nil, nil, err
	}
	return g.stand.Conn(), g.stand.Detach, nil
}

// standIn makes the agent of this boot of the guest, unless there is one. It is for run's goroutine.
func (g *guest) standIn(s session) error {
	if g.stand != nil && g.stand.BootID() == s.BootID() {
		return nil
	}
	state := g.closeStandIn()
	stand, err := remote.NewGuest(s.AgentVersion(), remote.Options{
		BootID: s.BootID(), State: state, PowerOff: g.opt.PowerOff, Log: g.opt.Log.WithName("agent"),
	})
	if err != nil {
		return err
	}
	g.stand = stand
	g.opt.Log.Info("the guest has no pod service: its agent runs here", "boot", s.BootID())
	return nil
}

// closeStandIn ends the agent that runs here, if one does, and returns its records.
func (g *guest) closeStandIn() []byte {
	if g.stand == nil {
		return nil
	}
	state := g.stand.Close()
	g.stand = nil
	return state
}
