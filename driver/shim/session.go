package shim

import (
	"context"
	"crypto/rand"
	"errors"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/link"
	"github.com/firkin-dev/firkin-reconcile/guest/remote"
)

// session is one with a guest. Close ends it, and what is open over it.
type session interface {
	// Conn is where the guest's services are reached.
	Conn() *grpc.ClientConn
	// Streams are how the guest's bytes come here when the pod's agent does.
	Streams() remote.Streams
	// BootID is unique to the guest's boot; AgentVersion is the version of what answers there.
	BootID() string
	AgentVersion() string
	// Done is closed when the session is over, Err then says why.
	Done() <-chan struct{}
	Err() error
	Close() error
}

// opener opens sessions with the guest of a machine, in the way that the guest is made for.
func opener(vm driver.VM, spec driver.Spec) func(context.Context) (session, error) {
	if spec.Guest.SandboxPort != 0 {
		return func(ctx context.Context) (session, error) { return openPort(ctx, vm, spec.Guest) }
	}
	hello := link.Hello{MachineID: spec.ID}
	_, _ = rand.Read(hello.Token[:]) // never fails
	return func(ctx context.Context) (session, error) { return openLink(ctx, vm, hello) }
}

// linkSession is a session over the byte link.
type linkSession struct {
	*link.Session
	conn *grpc.ClientConn
}

func openLink(ctx context.Context, vm driver.VM, hello link.Hello) (session, error) {
	stream, err := vm.Link(ctx)
	if err != nil {
		return nil, err
	}
	s, err := link.Open(ctx, stream, hello)
	if err != nil {
		return nil, err
	}
	conn, err := dialAgent(func(ctx context.Context) (net.Conn, error) { return s.Dial(ctx, link.AgentPort) },
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: agentPing, Timeout: agentPingLimit}))
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &linkSession{s, conn}, nil
}

// Conn implements session.
func (s *linkSession) Conn() *grpc.ClientConn { return s.conn }

// Streams implements session.
func (s *linkSession) Streams() remote.Streams { return remote.OverLink(s.Session) }

// Close implements session.
func (s *linkSession) Close() error { return errors.Join(s.conn.Close(), s.Session.Close()) }

// dialAgent makes the gRPC connection of a session.
func dialAgent(dial func(context.Context) (net.Conn, error), opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:agent", append(opts,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(newFrugalCodec()), grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithReadBufferSize(ioBuffer), grpc.WithWriteBufferSize(ioBuffer),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: clientBackoff(), MinConnectTimeout: callLimit}),
		grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0))...)
}
