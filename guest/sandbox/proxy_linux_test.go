package sandbox

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

func relayed(t *testing.T, from io.Writer, to io.Reader) {
	t.Helper()
	if _, err := io.WriteString(from, "relayed"); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 7)
	if _, err := io.ReadFull(to, text); err != nil || string(text) != "relayed" {
		t.Errorf("relayed %q, %v", text, err)
	}
}

func TestProxyInto(t *testing.T) {
	h, path := serve(t, Options{}), filepath.Join(t.TempDir(), "s")
	req := &sandboxpb.ProxyVsockRequest{Id: "p", VsockPort: 9, GuestPath: path, GuestSocketPermissions: proto.Uint32(0o622)}
	for _, want := range []codes.Code{codes.OK, codes.AlreadyExists} {
		if _, err := h.ProxyVsock(h.ctx, req); status.Code(err) != want {
			t.Fatalf("got %v, want %v", err, want)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o622 {
		t.Errorf("socket: %v %v", info, err)
	}
	inside, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	outside := h.dial(9)
	defer outside.Close()
	relayed(t, inside, outside)
	relayed(t, outside, inside)
	// The end of one direction is passed on, and the other goes on.
	half, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	answering := h.dial(9)
	if err := half.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(answering); err != nil || len(text) > 0 {
		t.Errorf("after the end: %q %v", text, err)
	}
	relayed(t, answering, half)
	_ = answering.Close()
	for _, want := range []codes.Code{codes.OK, codes.NotFound} {
		if _, err := h.StopVsockProxy(h.ctx, &sandboxpb.StopVsockProxyRequest{Id: "p"}); status.Code(err) != want {
			t.Errorf("stop: %v, want %v", err, want)
		}
	}
	if _, err := inside.Read(make([]byte, 1)); err == nil {
		t.Error("the connection outlives the relay")
	}
}

func TestProxyOutOf(t *testing.T) {
	h, path := serve(t, Options{}), filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	req := &sandboxpb.ProxyVsockRequest{Id: "p", VsockPort: 9, GuestPath: path, Action: sandboxpb.ProxyVsockRequest_OUT_OF}
	if _, err := h.ProxyVsock(h.ctx, req); err != nil {
		t.Fatal(err)
	}
	req.Id = "q"
	if _, err := h.ProxyVsock(h.ctx, req); status.Code(err) != codes.AlreadyExists {
		t.Errorf("the same port again: %v", err)
	}
	for range 2 {
		outside := h.dial(9)
		inside, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		relayed(t, inside, outside)
		relayed(t, outside, inside)
		_, _ = outside.Close(), inside.Close()
	}
	if _, err := h.StopVsockProxy(h.ctx, &sandboxpb.StopVsockProxyRequest{Id: "p"}); err != nil {
		t.Error(err)
	}
	if _, err := h.ProxyVsock(h.ctx, req); err != nil {
		t.Errorf("the port is free: %v", err)
	}
}
