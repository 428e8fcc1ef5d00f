package shim

import (
	"context"
	"errors"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that rawCodec falls back to
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// rawMessage is a message that is passed on unread.
type rawMessage struct{ data mem.BufferSlice }

// rawCodec passes rawMessages as they are and leaves the rest to protobuf.
type rawCodec struct{ encoding.CodecV2 }

func newRawCodec() rawCodec { return rawCodec{encoding.GetCodecV2("proto")} }

// Marshal implements encoding.CodecV2.
func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*rawMessage); ok {
		return m.data, nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*rawMessage); ok {
		data.Ref()
		m.data = data
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

// proxy passes a call of the agent's on to the guest, with the caller's deadline.
// When the link is down it waits a little for it to come back, then fails with
// codes.Unavailable.
func (h *holder) proxy(_ any, caller grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(caller)
	if !strings.HasPrefix(method, "/"+agentpb.Agent_ServiceDesc.ServiceName+"/") {
		return status.Errorf(codes.Unimplemented, "%s is neither the shim's nor the agent's", method)
	}
	ctx, cancel := context.WithCancel(caller.Context())
	defer cancel()
	conn, err := h.agent(ctx)
	if err != nil {
		return err
	}
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	agent, err := conn.NewStream(ctx, desc, method, grpc.ForceCodecV2(newRawCodec()))
	if err != nil {
		return unavailable(caller.Context(), err)
	}
	go func() { // ends with the call: Recv fails once the handler has returned
		if err := forward(agent, caller); err != nil {
			cancel()
		}
	}()
	for {
		var m rawMessage
		if err := agent.RecvMsg(&m); errors.Is(err, io.EOF) {
			caller.SetTrailer(agent.Trailer())
			return nil
		} else if err != nil {
			return unavailable(caller.Context(), err)
		}
		if err := caller.SendMsg(&m); err != nil {
			return err
		}
	}
}

// unavailable tells a call that ended with its session, whose connection was closed,
// from one that was cancelled by its caller.
func unavailable(caller context.Context, err error) error {
	if status.Code(err) == codes.Canceled && caller.Err() == nil {
		return status.Error(codes.Unavailable, "the link to the guest was lost")
	}
	return err
}

// forward passes the caller's messages on until it has sent all.
func forward(agent grpc.ClientStream, caller grpc.ServerStream) error {
	for {
		var m rawMessage
		if err := caller.RecvMsg(&m); errors.Is(err, io.EOF) {
			return agent.CloseSend()
		} else if err != nil {
			return err
		}
		if err := agent.SendMsg(&m); errors.Is(err, io.EOF) {
			return nil // the agent has ended the call; its status comes by RecvMsg
		} else if err != nil {
			return err
		}
	}
}

// agent is the connection to the guest agent, once there is one.
func (h *holder) agent(ctx context.Context) (grpc.ClientConnInterface, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, sessionPatience, errNoSession)
	defer cancel()
	select {
	case <-h.started.raised():
		return h.guest.connection(ctx)
	case <-ctx.Done():
		return nil, callerGone(ctx)
	}
}

var errNoSession = status.Error(codes.Unavailable, "the guest agent does not answer")

// callerGone is the status of a wait for the session that ctx ended.
func callerGone(ctx context.Context) error {
	if err := context.Cause(ctx); errors.Is(err, errNoSession) {
		return errNoSession
	}
	return status.FromContextError(ctx.Err()).Err()
}
