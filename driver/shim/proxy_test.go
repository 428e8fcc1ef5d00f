package shim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/shim/shimpb"
	"github.com/firkin-dev/firkin-reconcile/driver/sim"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

const testID = "00000000-0000-4000-8000-000000000001"

// cuttable is a VMM whose machines' links can be cut.
type cuttable struct {
	driver.VMM
	mu   sync.Mutex
	conn net.Conn
	down bool
}

func (c *cuttable) Start(ctx context.Context, spec driver.Spec, dir string, card *os.File) (driver.VM, error) {
	vm, err := c.VMM.Start(ctx, spec, dir, card)
	return &cuttableVM{VM: vm, c: c}, err
}

type cuttableVM struct {
	driver.VM
	c *cuttable
}

func (v *cuttableVM) Link(ctx context.Context) (net.Conn, error) {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	if v.c.down {
		return nil, errors.New("link is down")
	}
	conn, err := v.VM.Link(ctx)
	v.c.conn = conn
	return conn, err
}

// cut ends the present session; the link stays down or comes back at once.
func (c *cuttable) cut(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
	if c.conn != nil {
		c.conn.Close()
	}
}

// held is a machine held by this process.
type held struct {
	*cuttable
	*machine
	agent agentpb.AgentClient
}

func hold1(t *testing.T) *held {
	t.Helper()
	base, err := os.MkdirTemp("", "fk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	dir := filepath.Join(base, testID)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(driver.Spec{ID: testID, Name: "default/web", StoreBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, specFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, lockFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := NewDriver(Options{Dir: base, Command: []string{"false"}})
	if err != nil {
		t.Fatal(err)
	}
	lock, err := take(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	h := &held{cuttable: &cuttable{VMM: sim.NewVMM(sim.Options{Log: logr.Discard()})}, machine: d.machine(testID)}
	ended := make(chan error, 1)
	go func() {
		ended <- hold(context.Background(), ServeOptions{VMM: h.cuttable, Dir: dir, Log: logr.Discard()}, lock)
	}()
	t.Cleanup(func() {
		h.cut(false)
		if err := h.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		d.Close()
	})
	if err := h.awaitReady(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	h.agent = agentpb.NewAgentClient(h.Agent())
	if _, err := h.agent.Configure(t.Context(), &agentpb.ConfigureRequest{Pod: &agentpb.PodIdentity{Uid: testID, Namespace: "default", Name: "web"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.agent.AddEmptyDir(t.Context(), &agentpb.AddEmptyDirRequest{Name: "data", Digest: "d"}); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *held) run(t *testing.T, name, script string) {
	t.Helper()
	if _, err := h.agent.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: &agentpb.ContainerSpec{
		Name: name, Digest: "d", RootfsPath: "/", Argv: []string{"sh", "-c", script},
		Mounts: []*agentpb.Mount{{Volume: "data", Path: "/data"}},
	}}); err != nil {
		t.Fatal(err)
	}
}

func TestProxyStreamsBothWays(t *testing.T) {
	h := hold1(t)
	h.run(t, "main", "sleep infinity")
	s, err := h.agent.Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	start := &agentpb.ExecRequest_Start{Container: "main", Argv: []string{"cat"}, Stdin: true}
	if err := s.Send(&agentpb.ExecRequest{Message: &agentpb.ExecRequest_Start_{Start: start}}); err != nil {
		t.Fatal(err)
	}
	// Each piece comes back before the next is sent.
	for i := range 20 {
		want := bytes.Repeat([]byte{byte(i)}, 1<<i%(1<<15)+1)
		if err := s.Send(&agentpb.ExecRequest{Message: &agentpb.ExecRequest_Stdin{Stdin: want}}); err != nil {
			t.Fatal(err)
		}
		var got []byte
		for len(got) < len(want) {
			r, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.GetStdout()...)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("piece %d came back as %d bytes, not %d", i, len(got), len(want))
		}
	}
	if err := s.Send(&agentpb.ExecRequest{Message: &agentpb.ExecRequest_StdinEof{StdinEof: true}}); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Recv(); err != nil || r.GetExit() == nil {
		t.Errorf("last answer = %v, %v", r, err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("end: %v", err)
	}
}

func TestProxyPassesErrorsDeadlinesAndCancellation(t *testing.T) {
	h := hold1(t)
	h.run(t, "main", "sleep infinity")
	if _, err := h.agent.WaitContainer(t.Context(), &agentpb.WaitContainerRequest{Name: "none"}); status.Code(err) != codes.NotFound {
		t.Errorf("agent's error: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := h.agent.WaitContainer(ctx, &agentpb.WaitContainerRequest{Name: "main"}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("deadline: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	w, err := h.agent.Watch(ctx, &agentpb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	for err == nil {
		_, err = w.Recv()
	}
	if status.Code(err) != codes.Canceled {
		t.Errorf("cancelled: %v", err)
	}
	conn, err := h.connection()
	if err != nil {
		t.Fatal(err)
	}
	err = conn.Invoke(t.Context(), "/other.Service/Call", &agentpb.DescribeRequest{}, &agentpb.PodState{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("another service: %v", err)
	}
}

func TestProxyRefusesBigMessages(t *testing.T) {
	h := hold1(t)
	s, err := h.agent.WriteFile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The client's own limit is below the shim's; go around it.
	err = s.Send(&agentpb.WriteFileRequest{Message: &agentpb.WriteFileRequest_Data{Data: make([]byte, maxMessage+1)}})
	if err == nil {
		_, err = s.CloseAndRecv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("big message: %v", err)
	}
	if _, err := h.agent.Describe(t.Context(), &agentpb.DescribeRequest{}); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestLostSessionIsUnavailableAndHeals(t *testing.T) {
	h := hold1(t)
	h.run(t, "main", "sleep infinity")
	w, err := h.agent.Watch(t.Context(), &agentpb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := w.Recv()
	if err != nil {
		t.Fatal(err)
	}
	h.cut(true)
	for err == nil {
		_, err = w.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("stream over a lost session: %v", err)
	}
	begin := time.Now()
	if _, err := h.agent.Describe(t.Context(), &agentpb.DescribeRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("call without a session: %v", err)
	}
	if took := time.Since(begin); took > 2*sessionPatience {
		t.Errorf("it took %s", took)
	}
	if i, err := h.Info(t.Context()); err != nil || i.State != driver.StateUnknown || !strings.Contains(i.Message, "lost") {
		t.Errorf("info = %+v, %v", i, err)
	}
	h.cut(false)
	deadline := time.Now().Add(10 * time.Second)
	for {
		after, err := h.agent.Describe(t.Context(), &agentpb.DescribeRequest{})
		if err == nil {
			if after.GetBootId() != before.GetBootId() || len(after.GetContainers()) != 1 {
				t.Errorf("after: %v", after)
			}
			break
		}
		if status.Code(err) != codes.Unavailable || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	client, err := h.shim()
	if err != nil {
		t.Fatal(err)
	}
	if i, err := client.Info(t.Context(), &shimpb.InfoRequest{}); err != nil || i.GetPhase() != shimpb.InfoResponse_READY {
		t.Errorf("info = %v, %v", i, err)
	}
}

func TestOutputSurvivesLostSessions(t *testing.T) {
	h := hold1(t)
	var script, want strings.Builder
	for i := range 30 {
		script.WriteString("echo line" + strings.Repeat("x", i) + "; sleep 0.01;")
		want.WriteString("line" + strings.Repeat("x", i) + "\n")
	}
	h.run(t, "main", script.String())
	for range 5 {
		time.Sleep(40 * time.Millisecond) // let some of it through
		h.cut(false)
	}
	path := filepath.Join(h.dir, logsDir, "main", "0.log")
	deadline := time.Now().Add(20 * time.Second)
	for {
		data, _ := os.ReadFile(path)
		if got := unCRI(t, data)["stdout"]; got == want.String() {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("log is %q", got)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
