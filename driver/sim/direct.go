package sim

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// maxMessage bounds a message, as everywhere.
const maxMessage = 4 << 20

// errHungUp is what calls get whose driver was closed.
var errHungUp = status.Error(codes.Canceled, "the driver is closed")

// direct calls the agent of a machine of this process as gRPC does over a link: the handler
// gets copies of the caller's messages, its metadata and its deadline, its end when it goes
// away, and what fails is a status. But where nothing is called there is no goroutine and
// no buffer: there may be thousands. Headers and trailers of handlers are not carried: the
// agent sets none. Values of the caller's context are seen, of which the agent uses none.
type direct struct {
	agent agentpb.AgentServer
	guest *life // the machine's
	host  *life // the driver's
}

var _ grpc.ClientConnInterface = direct{}

// Invoke implements grpc.ClientConnInterface.
func (d direct) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	for _, m := range agentpb.Agent_ServiceDesc.Methods {
		if method != pathOf(m.MethodName) {
			continue
		}
		s := d.open(ctx, false, func(s serverStream) error {
			answer, err := m.Handler(d.agent, s.server, s.RecvMsg, nil)
			if err != nil {
				return err
			}
			return s.SendMsg(answer)
		})
		defer s.cancel()
		if err := s.SendMsg(args); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return s.RecvMsg(reply)
	}
	return unknown(method)
}

// NewStream implements grpc.ClientConnInterface.
func (d direct) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	for _, m := range agentpb.Agent_ServiceDesc.Streams {
		if method == pathOf(m.StreamName) {
			return d.open(ctx, desc.ServerStreams, func(s serverStream) error { return m.Handler(d.agent, s) }), nil
		}
	}
	return nil, unknown(method)
}

func pathOf(method string) string { return "/" + agentpb.Agent_ServiceDesc.ServiceName + "/" + method }

func unknown(method string) error {
	return status.Errorf(codes.Unimplemented, "unknown method %s", method)
}

// open begins a call. It ends with its handler, its caller's context, machine or driver.
func (d direct) open(ctx context.Context, many bool, handle func(serverStream) error) *call {
	s := &call{
		direct: d, client: ctx, many: many, up: make(chan []byte, 1), down: make(chan []byte, 1),
		sent: make(chan struct{}), done: make(chan struct{}),
	}
	s.server, s.cancel = context.WithCancel(ctx)
	if md, ok := metadata.FromOutgoingContext(ctx); ok {
		s.server = metadata.NewIncomingContext(s.server, md)
	}
	s.guest.take(s)
	s.host.take(s)
	go func() {
		s.err = statusOf(handle(serverStream{s}))
		close(s.done)
		s.guest.leave(s)
		s.host.leave(s)
		s.cancel()
	}()
	return s
}

// statusOf is what a caller sees of a handler's error.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	return s.Err()
}

// call is one call, as its caller sees it. Messages travel as bytes.
type call struct {
	direct
	client, server context.Context
	cancel         context.CancelFunc // ends server
	many           bool               // the agent may send more than one message
	up, down       chan []byte
	sentAll        sync.Once
	sent           chan struct{} // closed when the caller sends no more
	done           chan struct{} // closed when the handler has returned
	err            error         // its error, valid once done is closed
}

var _ grpc.ClientStream = (*call)(nil)

// Header implements grpc.ClientStream.
func (s *call) Header() (metadata.MD, error) { return nil, nil }

// Trailer implements grpc.ClientStream.
func (s *call) Trailer() metadata.MD { return nil }

// Context implements grpc.ClientStream.
func (s *call) Context() context.Context { return s.client }

// CloseSend implements grpc.ClientStream.
func (s *call) CloseSend() error {
	s.sentAll.Do(func() { close(s.sent) })
	return nil
}

// SendMsg implements grpc.ClientStream: io.EOF means that RecvMsg tells why the call is over.
func (s *call) SendMsg(m any) error {
	data, err := encode(m)
	if err != nil {
		s.cancel()
		return err
	}
	select {
	case s.up <- data:
		return nil
	case <-s.server.Done():
		return io.EOF
	}
}

// RecvMsg implements grpc.ClientStream. The call is over once it fails.
func (s *call) RecvMsg(m any) error {
	err := s.receive(m)
	if err != nil {
		s.cancel()
	}
	return err
}

func (s *call) receive(m any) error {
	data, err := s.next()
	switch {
	case err == nil && s.many:
		return decode(data, m)
	case err == nil:
		if err := decode(data, m); err != nil {
			return err
		}
		// The one message counts once the handler has returned.
		if _, err = s.next(); errors.Is(err, io.EOF) {
			return nil
		}
	case errors.Is(err, io.EOF) && !s.many:
		return status.Error(codes.Internal, "no message and no error from the agent")
	}
	return err
}

// next returns the agent's next message: io.EOF after the last one, or why there is none.
func (s *call) next() ([]byte, error) {
	select {
	case data := <-s.down:
		return data, nil
	case <-s.server.Done(): // as it is when the handler has returned, and whatever else ends the call
	}
	// What came before the end counts.
	select {
	case data := <-s.down:
		return data, nil
	default:
	}
	return nil, s.over()
}

// over is why no more messages come. What ends a call ends its handler too, whose error then
// says less.
func (s *call) over() error {
	returned := false
	select {
	case <-s.done:
		returned = true
	default:
	}
	switch {
	case returned && s.err == nil:
		return io.EOF
	case s.client.Err() != nil:
		return status.FromContextError(s.client.Err()).Err()
	case s.guest.over():
		return status.Error(codes.Unavailable, "the machine has ended")
	case s.host.over():
		return errHungUp
	case returned:
		return s.err
	default:
		return status.FromContextError(s.server.Err()).Err()
	}
}

// serverStream is a call as its handler sees it.
type serverStream struct{ *call }

var _ grpc.ServerStream = serverStream{}

// errNoHeaders is why a handler's header is refused.
var errNoHeaders = status.Error(codes.Unimplemented, "no headers are carried")

func (s serverStream) SetHeader(metadata.MD) error  { return errNoHeaders }
func (s serverStream) SendHeader(metadata.MD) error { return errNoHeaders }
func (s serverStream) SetTrailer(metadata.MD)       {}
func (s serverStream) Context() context.Context     { return s.server }

func (s serverStream) SendMsg(m any) error {
	data, err := encode(m)
	if err != nil {
		return err
	}
	select {
	case s.down <- data:
		return nil
	case <-s.server.Done():
		return status.FromContextError(s.server.Err()).Err()
	}
}

func (s serverStream) RecvMsg(m any) error {
	select {
	case data := <-s.up:
		return decode(data, m)
	case <-s.server.Done():
		return status.FromContextError(s.server.Err()).Err()
	case <-s.sent:
	}
	select {
	case data := <-s.up: // sent before the end
		return decode(data, m)
	default:
		return io.EOF
	}
}

func encode(m any) ([]byte, error) {
	p, ok := m.(proto.Message)
	if !ok {
		return nil, status.Errorf(codes.Internal, "%T is no message", m)
	}
	data, err := proto.Marshal(p)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "encode message: %v", err)
	}
	if len(data) > maxMessage {
		return nil, status.Errorf(codes.ResourceExhausted, "message of %d bytes, more than %d", len(data), maxMessage)
	}
	return data, nil
}

func decode(data []byte, m any) error {
	p, ok := m.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "%T is no message", m)
	}
	if err := proto.Unmarshal(data, p); err != nil {
		return status.Errorf(codes.Internal, "decode message: %v", err)
	}
	return nil
}
