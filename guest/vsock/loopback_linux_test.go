package vsock_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mdlayher/vsock"

	"github.com/firkin-dev/firkin-reconcile/guest/link"
	ours "github.com/firkin-dev/firkin-reconcile/guest/vsock"
)

// testPort is one that nothing else has.
const testPort = 26201

// loopback listens by the kernel's loopback; the test is skipped where it has none.
func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := vsock.ListenContextID(vsock.Local, testPort, nil)
	if err != nil {
		t.Skipf("this kernel has no vsock loopback: %v", err)
	}
	return l
}

func connect(ctx context.Context, t *testing.T) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := vsock.DialContext(ctx, vsock.Local, testPort, nil)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestLoopback_IsNotTheHost: what runs in the machine itself gets no connection.
func TestLoopback_IsNotTheHost(t *testing.T) {
	l := ours.HostOnly(loopback(t))
	accepted := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	conn := connect(t.Context(), t)
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepted: %v", err)
	}
}

// TestLoopback_Link runs sessions of the link over connections of vsock, each taking over
// from the one before.
func TestLoopback_Link(t *testing.T) {
	guest := link.NewGuest(link.NewNewest(loopback(t)), link.GuestOptions{BootID: "boot", AgentVersion: "v"})
	listener := guest.Listen(link.AgentPort)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	running, stop := context.WithCancel(ctx)
	go func() { ended <- guest.Run(running) }()
	for range 3 {
		session, err := link.Open(ctx, connect(ctx, t), link.Hello{Token: [16]byte{1}, MachineID: "m"})
		if err != nil {
			t.Fatal(err)
		}
		stream, err := session.Dial(ctx, link.AgentPort)
		if err != nil {
			t.Fatal(err)
		}
		served, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		const text = "over vsock"
		if _, err := io.WriteString(stream, text); err != nil {
			t.Error(err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(served, got); err != nil || string(got) != text {
			t.Errorf("got %q, %v", got, err)
		}
		defer func() { _ = session.Close() }()
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
