package sim_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func want(t *testing.T, err error, code codes.Code) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("got %v, want code %s", err, code)
	}
}

// TestCallsEnd: a call ends with its deadline, its caller, its machine and its driver, each with the
// status that gRPC gives, and is over for its handler too (the bubble ends).
func TestCallsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := world(t, "")
		defer closeAll(t, w, d)
		m, a := create(t, d, 1)
		addDir(t, a)
		add(t, a, "main", "sleep", "infinity")
		wait := func(ctx context.Context) error {
			_, err := a.WaitContainer(ctx, &agentpb.WaitContainerRequest{Name: "main"})
			return err
		}
		limited, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		want(t, wait(limited), codes.DeadlineExceeded)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		want(t, wait(ended), codes.Canceled)

		ctx, cancel := context.WithCancel(t.Context())
		stream, err := a.Watch(ctx, &agentpb.WatchRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		cancel()
		_, err = stream.Recv()
		want(t, err, codes.Canceled)

		if stream, err = a.Watch(t.Context(), &agentpb.WatchRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			time.Sleep(time.Second)
			if err := w.Kill(m.ID()); err != nil {
				t.Error(err)
			}
		}()
		want(t, wait(t.Context()), codes.Unavailable)
		_, err = stream.Recv()
		want(t, err, codes.Unavailable)

		<-killed
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if stream, err = configure(t, m).Watch(t.Context(), &agentpb.WatchRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		want(t, err, codes.Canceled)
	})
}

// TestCallsAreBounded: messages over the limit are refused, as is what the agent does not know.
func TestCallsAreBounded(t *testing.T) {
	w, d := world(t, "")
	defer closeAll(t, w, d)
	m, a := create(t, d, 1)
	addDir(t, a)
	large := make([]byte, 5<<20)
	_, err := a.AddVolume(t.Context(), files("v", "1", "f", string(large)))
	want(t, err, codes.ResourceExhausted)
	want(t, m.Agent().Invoke(t.Context(), "/firkin.Other/Call", &agentpb.DescribeRequest{}, &agentpb.PodState{}), codes.Unimplemented)
	_, err = m.Agent().NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/firkin.Other/Call")
	want(t, err, codes.Unimplemented)

	stream, err := a.WriteFile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The handler refuses the first message; what is sent after that finds the call over.
	for err = nil; err == nil; {
		err = stream.Send(&agentpb.WriteFileRequest{})
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	_, err = stream.CloseAndRecv()
	want(t, err, codes.InvalidArgument)
}

// TestMessagesAreCopies: what a caller changes after a call is its own.
func TestMessagesAreCopies(t *testing.T) {
	w, d := world(t, "")
	defer closeAll(t, w, d)
	_, a := create(t, d, 1)
	req := &agentpb.AddEmptyDirRequest{Name: "data", Digest: "d"}
	if _, err := a.AddEmptyDir(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	req.Digest = "other"
	state, err := a.Describe(t.Context(), &agentpb.DescribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	state.GetEmptyDirs()[0].Digest = "changed"
	if state, err = a.Describe(t.Context(), &agentpb.DescribeRequest{}); err != nil || state.GetEmptyDirs()[0].GetDigest() != "d" {
		t.Errorf("got %v, %v", state, err)
	}
}
