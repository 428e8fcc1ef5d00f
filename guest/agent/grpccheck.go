package agent

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// grpcCheck asks the health service at a port of the pod; it succeeds when that is serving.
func (a *Agent) grpcCheck(ctx context.Context, g *agentpb.GRPCAction) (finding, error) {
	conn, err := grpc.NewClient("passthrough:///"+a.address("", g.GetPort()),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return a.opt.Dial(ctx, "tcp", address)
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxBody)),
		grpc.WithMaxHeaderListSize(maxAnswerHeaders),
		grpc.WithUserAgent(userAgent),
		grpc.WithDisableServiceConfig())
	if err != nil {
		return finding{}, fmt.Errorf("health client: %w", err)
	}
	defer func() { _ = conn.Close() }() // fails only when closed already
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: g.GetService()})
	if err != nil {
		s := status.Convert(err)
		return finding{message: fmt.Sprintf("%s: %s", s.Code(), s.Message())}, nil
	}
	if resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return finding{message: "status " + resp.GetStatus().String()}, nil
	}
	return finding{ok: true}, nil
}
