package remote_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/link"
	"github.com/firkin-dev/firkin-reconcile/guest/remote"
	"github.com/firkin-dev/firkin-reconcile/guest/remote/remotetest"
)

// harness is a pod service for a guest that serves the sandbox contract alone, over a byte link or
// on a port.
type harness struct {
	agentpb.AgentClient
	t        *testing.T
	ctx      context.Context
	guest    *remote.Guest
	box      *remotetest.Guest
	files    *remotetest.Files
	programs *remotetest.Programs
	off      chan struct{} // closed at power-off
	hangUp   func()
	closed   bool // the pod service
	ports    *remotetest.Ports
}

// overBoth runs a test over a link and over ports.
func overBoth(t *testing.T, test func(t *testing.T, h *harness)) {
	t.Run("link", func(t *testing.T) { test(t, newHarness(t)) })
	t.Run("ports", func(t *testing.T) { test(t, newHarnessWith(t, nil, newPorts(t))) })
}

func newPorts(t *testing.T) *remotetest.Ports {
	t.Helper()
	dir, err := os.MkdirTemp("", "fk") // its path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &remotetest.Ports{Dir: dir}
}

func newHarness(t *testing.T) *harness { return newHarnessWith(t, nil, nil) }

// newHarnessWith has the records of an earlier boot; without ports it is over a link.
func newHarnessWith(t *testing.T, state []byte, ports *remotetest.Ports) *harness {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	box := remotetest.New("boot")
	h := &harness{t: t, ctx: ctx, box: box, files: box.Files, programs: box.Programs, off: make(chan struct{}), ports: ports}
	var once sync.Once
	var err error
	h.guest, err = remote.NewGuest(remotetest.Version, remote.Options{
		BootID: "boot", State: state, Log: testr.NewWithOptions(t, testr.Options{Verbosity: 0}),
		PowerOff: func() error { once.Do(func() { close(h.off) }); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	h.AgentClient = agentpb.NewAgentClient(h.guest.Conn())
	h.connect()
	t.Cleanup(func() {
		if !h.closed {
			h.guest.Close()
		}
		if err := h.box.Close(); err != nil {
			t.Error(err)
		}
		h.hangUp()
		cancel()
	})
	return h
}

// connect opens a session, after hangUp a new one, with the guest that goes on.
func (h *harness) connect() {
	h.t.Helper()
	if h.ports != nil {
		h.connectPort()
		return
	}
	near, far := net.Pipe()
	var serving sync.WaitGroup
	serving.Go(func() { _ = h.box.Serve(context.WithoutCancel(h.ctx), far) }) // it ends with the pipe
	session, err := link.Open(h.ctx, near, link.Hello{MachineID: "test"})
	if err != nil {
		h.t.Fatal(err)
	}
	conn := h.dial(func(ctx context.Context, _ string) (net.Conn, error) { return session.Dial(ctx, link.AgentPort) })
	h.guest.Attach(conn, remote.OverLink(session))
	h.hangUp = func() {
		h.guest.Detach()
		_, _, _ = conn.Close(), session.Close(), far.Close()
		serving.Wait()
	}
}

// connectPort is connect with a guest that has no link.
func (h *harness) connectPort() {
	h.t.Helper()
	stop, err := h.box.ServePorts(*h.ports, 1024)
	if err != nil {
		h.t.Fatal(err)
	}
	conn := h.dial(func(ctx context.Context, _ string) (net.Conn, error) { return h.ports.DialPort(ctx, 1024) })
	h.guest.Attach(conn, remote.OverPorts(h.ports))
	h.hangUp = func() {
		h.guest.Detach()
		_ = conn.Close()
		if err := stop(); err != nil {
			h.t.Error(err)
		}
	}
}

func (h *harness) dial(dial func(context.Context, string) (net.Conn, error)) *grpc.ClientConn {
	h.t.Helper()
	conn, err := grpc.NewClient("passthrough:box", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial))
	if err != nil {
		h.t.Fatal(err)
	}
	return conn
}

func (h *harness) configure() {
	h.t.Helper()
	if err := h.configureWith(&agentpb.ConfigureRequest{Sysctls: []*agentpb.Sysctl{{Name: "net.ipv4.ip_forward", Value: "1"}}}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) configureWith(req *agentpb.ConfigureRequest) error {
	req.Pod, req.Hostname = &agentpb.PodIdentity{Uid: "u", Namespace: "default", Name: "web"}, "web"
	_, err := h.Configure(h.ctx, req)
	return err
}

// spec completes a container's spec.
func spec(c *agentpb.ContainerSpec) *agentpb.ContainerSpec {
	if c.GetRootfsPath() == "" {
		c.RootfsDisk = "image1"
	}
	c.Digest, c.Manifest = fmt.Sprintf("sha256:%s", c.GetName()), []byte("{}")
	return c
}

func (h *harness) add(c *agentpb.ContainerSpec) {
	h.t.Helper()
	if _, err := h.AddContainer(h.ctx, &agentpb.AddContainerRequest{Container: spec(c)}); err != nil {
		h.t.Fatal(err)
	}
}
