package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime"
)

// rehearsalLimit bounds a call that never leaves the process.
const rehearsalLimit = 10 * time.Second

// settle does what every copy of this machine would have to do first, and leaves nothing
// under way. server is used up.
func settle(ctx context.Context, rt *runtime.Runtime, server *grpc.Server) error {
	err := errors.Join(rt.Warm(ctx), rehearse(ctx, server))
	return errors.Join(err, rt.Settle(ctx))
}

// rehearse has the server answer a call from within, and all messages coded once: what is
// made on first use is made now.
func rehearse(ctx context.Context, server *grpc.Server) error {
	ctx, cancel := context.WithTimeout(ctx, rehearsalLimit)
	defer cancel()
	near, far := net.Pipe()
	listener := &oneConn{conn: far, closed: make(chan struct{})}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { _ = server.Serve(listener) }) // ends with the server
	defer server.Stop()
	client, err := grpc.NewClient("passthrough:self", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return near, nil }))
	if err != nil {
		return fmt.Errorf("rehearse: %w", err)
	}
	defer client.Close()
	if _, err := agentpb.NewAgentClient(client).Describe(ctx, &agentpb.DescribeRequest{}); err != nil {
		return fmt.Errorf("rehearse: %w", err)
	}
	return codeAll()
}

// codeAll encodes and decodes one message of each type that a pod's start takes.
func codeAll() error {
	for _, m := range []proto.Message{
		&agentpb.ConfigureRequest{}, &agentpb.PodState{}, &agentpb.SetTimeRequest{}, &agentpb.SetTimeResponse{},
		&agentpb.AddEmptyDirRequest{}, &agentpb.AddContainerRequest{}, &agentpb.AddContainerResponse{},
		&agentpb.OutputRequest{}, &agentpb.OutputChunk{},
	} {
		b, err := proto.Marshal(m)
		if err == nil {
			err = proto.Unmarshal(b, m)
		}
		if err != nil {
			return fmt.Errorf("rehearse: %w", err)
		}
	}
	return nil
}

// oneConn is a listener of one connection.
type oneConn struct {
	mu     sync.Mutex
	conn   net.Conn // nil once accepted
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *oneConn) Accept() (net.Conn, error) {
	l.mu.Lock()
	c := l.conn
	l.conn = nil
	l.mu.Unlock()
	if c != nil {
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "self"} }
