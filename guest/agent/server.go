package agent

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// Limits of the agent's gRPC server; a client wants the same for what it receives.
const (
	// MaxMessage bounds a message, both ways.
	MaxMessage = 4 << 20
	// MaxHeaders bounds the headers of a call.
	MaxHeaders = 64 << 10
	maxStreams = 256
	// pingMinimum is the least time between a client's keepalive pings.
	pingMinimum = 5 * time.Second
	// handshakeLimit bounds how long a connection takes to speak HTTP/2.
	handshakeLimit = 20 * time.Second
)

// NewServer makes a gRPC server that serves the agent, with limits on all that a
// client can send. A call that panics fails with codes.Internal and is logged.
func NewServer(a *Agent) *grpc.Server {
	s := grpc.NewServer(ServerOptions(a.opt.Log)...)
	agentpb.RegisterAgentServer(s, a)
	return s
}

// ServerOptions are those of NewServer, for another service of the guest.
func ServerOptions(log logr.Logger) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.MaxHeaderListSize(MaxHeaders),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeLimit),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingMinimum, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(guardUnary(log)),
		grpc.StreamInterceptor(guardStream(log)),
	}
}

func guardUnary(log logr.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (_ any, err error) {
		defer guard(log, info.FullMethod, &err)
		return handler(ctx, req)
	}
}

func guardStream(log logr.Logger) grpc.StreamServerInterceptor {
	return func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
		defer guard(log, info.FullMethod, &err)
		return handler(srv, s)
	}
}

// guard keeps a panic of one call from ending the machine: the agent is PID 1.
func guard(log logr.Logger, method string, err *error) {
	if p := recover(); p != nil {
		log.Error(nil, "call panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
		*err = status.Errorf(codes.Internal, "%s: internal error", method)
	}
}
