package shim

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/driver/shim/shimpb"
	"github.com/firkin-dev/firkin-reconcile/driver/unixsock"
)

// clientBackoff is short: the other end is on this host.
func clientBackoff() backoff.Config {
	return backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second}
}

// dialShim makes a connection to a shim's socket; it connects when first used.
func dialShim(dir string) (*grpc.ClientConn, error) {
	path := filepath.Join(dir, socketFile)
	return grpc.NewClient("passthrough:shim",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return unixsock.Dial(ctx, path)
		}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(newFrugalCodec()), grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithReadBufferSize(ioBuffer), grpc.WithWriteBufferSize(ioBuffer),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: clientBackoff(), MinConnectTimeout: 2 * time.Second}),
		grpc.WithDisableServiceConfig())
}

// connection returns the machine's connection, made when there is none.
func (m *machine) connection() (*grpc.ClientConn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn == nil {
		conn, err := dialShim(m.dir)
		if err != nil {
			return nil, fmt.Errorf("dial shim: %w", err)
		}
		m.conn = conn
	}
	return m.conn, nil
}

// hangUp lets go of the connection, so that a machine that is down costs nothing.
func (m *machine) hangUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn != nil {
		m.conn.Close()
		m.conn = nil
	}
}

func (m *machine) shim() (shimpb.ShimClient, error) {
	conn, err := m.connection()
	if err != nil {
		return nil, err
	}
	return shimpb.NewShimClient(conn), nil
}

// agentConn is a machine's agent, through whichever connection there is.
type agentConn struct{ m *machine }

// Invoke implements grpc.ClientConnInterface.
func (a agentConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	conn, err := a.m.connection()
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	return conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (a agentConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn, err := a.m.connection()
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return conn.NewStream(ctx, desc, method, opts...)
}
