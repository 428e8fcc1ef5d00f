package agent

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pod is a configured agent behind its real gRPC server.
type pod struct {
	agentpb.AgentClient
	rt    *fakeRuntime
	agent *Agent
	stop  func()
}

func newDisk() *disk { return &disk{dirs: map[string]bool{}} }

// bootPod boots a machine on d; it dies with the test or by stop.
func bootPod(t testing.TB, boot string, d *disk) *pod {
	t.Helper()
	rt := newFakeRuntime(boot, d)
	a := New(rt, Options{Version: "test", Log: logr.Discard(), Dial: rt.dial})
	srv := NewServer(a)
	l := bufconn.Listen(64 << 10)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	conn, err := grpc.NewClient("passthrough:agent", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		_ = conn.Close()
		srv.Stop()
		wg.Wait()
		a.Close()
	})
	t.Cleanup(stop)
	return &pod{AgentClient: agentpb.NewAgentClient(conn), rt: rt, agent: a, stop: stop}
}

var testIdentity = &agentpb.PodIdentity{Uid: "u-1", Namespace: "default", Name: "web", VmDigest: "v"}

// newPod is bootPod, configured, with emptyDir "data".
func newPod(t testing.TB) *pod {
	t.Helper()
	p := bootPod(t, "boot-1", newDisk())
	p.configure(t)
	if _, err := p.AddEmptyDir(t.Context(), &agentpb.AddEmptyDirRequest{Name: "data", Digest: "d"}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pod) configure(t testing.TB) *agentpb.PodState {
	t.Helper()
	s, err := p.Configure(t.Context(), &agentpb.ConfigureRequest{Pod: testIdentity, Hostname: "web"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func spec(name, digest string) *agentpb.ContainerSpec {
	return &agentpb.ContainerSpec{
		Name: name, Digest: digest, Image: "img", RootfsDisk: "i1", Argv: []string{"/bin/sh"},
		Mounts: []*agentpb.Mount{{Volume: "data", Path: "/data"}},
	}
}

func withoutMounts(c *agentpb.ContainerSpec) { c.Mounts = nil }

func (p *pod) add(t testing.TB, name, digest string, with ...func(*agentpb.ContainerSpec)) *agentpb.AddContainerResponse {
	t.Helper()
	c := spec(name, digest)
	for _, f := range with {
		f(c)
	}
	r, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: c})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (p *pod) wait(t testing.TB, name string) *agentpb.WaitContainerResponse {
	t.Helper()
	r, err := p.WaitContainer(t.Context(), &agentpb.WaitContainerRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// container is the container's state, nil when there is none.
func (p *pod) container(t testing.TB, name string) *agentpb.ContainerState {
	t.Helper()
	s, err := p.Describe(t.Context(), &agentpb.DescribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return find(s, name)
}

func find(s *agentpb.PodState, name string) *agentpb.ContainerState {
	for _, c := range s.GetContainers() {
		if c.GetName() == name {
			return c
		}
	}
	return nil
}

// until watches the pod until ok.
func (p *pod) until(t testing.TB, ok func(*agentpb.PodState) bool) *agentpb.PodState {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	w, err := p.Watch(ctx, &agentpb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		s, err := w.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if ok(s) {
			return s
		}
	}
}
