package remote_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/remote/remotetest"
)

func TestPod(t *testing.T) { overBoth(t, testPod) }

func testPod(t *testing.T, h *harness) {
	state, err := h.Describe(h.ctx, &agentpb.DescribeRequest{})
	if err != nil || state.GetAgentVersion() != "sandbox/test" || !agentpb.SandboxOnly(state.GetAgentVersion()) || state.GetBootId() != "boot" {
		t.Fatal(state, err)
	}
	h.configure()
	if m := h.files.At("/run/firkin/pod-store"); m.GetSource() != "/dev/vda" || m.GetType() != "ext4" {
		t.Errorf("store: %v", m)
	}
	if h.files.Sysctls["kernel.hostname"] != "web" || h.files.Sysctls["net.ipv4.ip_forward"] != "1" {
		t.Errorf("sysctls: %v", h.files.Sysctls)
	}
	for _, dir := range []*agentpb.AddEmptyDirRequest{{Name: "data", Digest: "d1"}, {Name: "mem", Digest: "d2", Memory: true, SizeLimitBytes: 1 << 20}} {
		if _, err := h.AddEmptyDir(h.ctx, dir); err != nil {
			t.Fatal(err)
		}
	}
	if m := h.files.At("/emptydir/mem"); m.GetType() != "tmpfs" || !slices.Contains(m.GetOptions(), "size=1048576") {
		t.Errorf("emptyDir in memory: %v", m)
	}
	h.add(&agentpb.ContainerSpec{
		Name: "web", Argv: []string{"say", "hello"}, User: "app:users", Resources: &agentpb.Resources{MemoryLimitBytes: 1 << 20},
		Mounts: []*agentpb.Mount{{Volume: "data", Path: "/data", ReadOnly: true}},
	})
	oci, _ := h.programs.Of("web")
	if oci.Process.User.Username != "app:users" || *oci.Linux.Resources.Memory.Limit != 1<<20 || !strings.HasSuffix(oci.Root.Path, "/merged") {
		t.Errorf("spec: %+v", oci)
	}
	for _, m := range oci.Mounts {
		if m.Destination == "/data" && (!strings.HasSuffix(m.Source, "/emptydir/data") || !slices.Contains(m.Options, "ro")) {
			t.Errorf("volume: %+v", m)
		}
	}
	if m := h.files.At("/templates/image1"); m.GetSource() != "/dev/vdc" || !slices.Contains(m.GetOptions(), "ro") {
		t.Errorf("template: %v", m)
	}
	ended, err := h.WaitContainer(h.ctx, &agentpb.WaitContainerRequest{Name: "web"})
	if err != nil || ended.GetExitCode() != 3 || !strings.Contains(string(ended.GetTail()), "hello") || !strings.Contains(string(ended.GetTail()), "said") {
		t.Fatal(ended, err)
	}
	if h.files.At("/templates/image1") != nil || h.files.At("/merged") != nil {
		t.Error("a container that was waited for leaves mounts")
	}
	h.add(&agentpb.ContainerSpec{Name: "web", Argv: []string{"say", "again"}})
	state, err = h.Describe(h.ctx, &agentpb.DescribeRequest{})
	if err != nil || len(state.GetContainers()) != 1 || state.GetContainers()[0].GetRestartCount() != 1 {
		t.Errorf("a second run: %v %v", state, err)
	}
	trimmed, err := h.Trim(h.ctx, &agentpb.TrimRequest{})
	if err != nil || trimmed.GetTrimmedBytes() != 8192 || trimmed.GetPod().GetStore().GetUsedBytes() != 10*4096 {
		t.Errorf("trim: %v %v", trimmed, err)
	}
	if _, err := h.RemoveContainer(h.ctx, &agentpb.RemoveContainerRequest{Name: "web", Grace: durationpb.New(time.Second)}); err != nil {
		t.Error(err)
	}
	if _, err := h.RemoveEmptyDir(h.ctx, &agentpb.RemoveEmptyDirRequest{Name: "mem"}); err != nil || h.files.At("/emptydir/mem") != nil {
		t.Errorf("remove emptyDir: %v", err)
	}
	h.shutdown()
}

// shutdown ends the pod and its machine.
func (h *harness) shutdown() {
	h.t.Helper()
	if _, err := h.Shutdown(h.ctx, &agentpb.ShutdownRequest{Grace: durationpb.New(time.Second)}); err != nil {
		h.t.Fatal(err)
	}
	select {
	case <-h.off:
	case <-h.ctx.Done():
		h.t.Fatal("the machine was not powered off")
	}
	if h.files.At("/run/firkin/pod-store") != nil || h.files.Synced == 0 {
		h.t.Error("the store is not closed")
	}
}

func TestRemoveEndsByItself(t *testing.T) {
	h := newHarness(t)
	h.configure()
	h.add(&agentpb.ContainerSpec{Name: "web", Argv: []string{"forever"}})
	r, err := h.RemoveContainer(h.ctx, &agentpb.RemoveContainerRequest{Name: "web", Grace: durationpb.New(10 * time.Second)})
	if err != nil || !r.GetExisted() || r.GetExitCode() != 128+15 {
		t.Errorf("remove: %v %v", r, err)
	}
}

func TestExec(t *testing.T) { overBoth(t, testExec) }

func testExec(t *testing.T, h *harness) {
	h.configure()
	h.add(&agentpb.ContainerSpec{Name: "web", Argv: []string{"forever"}})
	stream, err := h.Exec(h.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*agentpb.ExecRequest{
		{Message: &agentpb.ExecRequest_Start_{Start: &agentpb.ExecRequest_Start{Container: "web", Argv: []string{"echo"}, Stdin: true}}},
		{Message: &agentpb.ExecRequest_Stdin{Stdin: []byte("all of it")}},
		{Message: &agentpb.ExecRequest_StdinEof{StdinEof: true}},
	} {
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	var out string
	var exit *agentpb.ExecResponse_Exit
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		out += string(m.GetStdout())
		exit = m.GetExit()
	}
	if out != "all of it" || exit == nil || exit.GetCode() != 0 {
		t.Errorf("exec: %q %v", out, exit)
	}
}

// TestSessions: a container outlives the session that it was started over, and its end is seen by the next.
func TestSessions(t *testing.T) { overBoth(t, testSessions) }

func testSessions(t *testing.T, h *harness) {
	h.configure()
	h.add(&agentpb.ContainerSpec{Name: "web", Argv: []string{"forever"}})
	h.hangUp()
	if _, err := h.AddEmptyDir(h.ctx, &agentpb.AddEmptyDirRequest{Name: "data", Digest: "d"}); status.Code(err) != codes.Unavailable {
		t.Errorf("without a session: %v", err)
	}
	_, p := h.programs.Of("web")
	p.End(9)
	h.connect()
	ended, err := h.WaitContainer(h.ctx, &agentpb.WaitContainerRequest{Name: "web"})
	if err != nil || ended.GetExitCode() != 9 {
		t.Errorf("wait: %v %v", ended, err)
	}
}

// TestOutputOverPorts: what is put out while there is no session is not lost where streams are
// connections of their own.
func TestOutputOverPorts(t *testing.T) {
	h := newHarnessWith(t, nil, newPorts(t))
	h.configure()
	h.add(&agentpb.ContainerSpec{Name: "web", Argv: []string{"wait", "for", "it"}})
	h.hangUp()
	_, p := h.programs.Of("web")
	p.GoOn()
	h.connect()
	ended, err := h.WaitContainer(h.ctx, &agentpb.WaitContainerRequest{Name: "web"})
	if err != nil || ended.GetExitCode() != 3 || !strings.Contains(string(ended.GetTail()), "for it") {
		t.Errorf("wait: %v %v", ended, err)
	}
}

func TestStartFails(t *testing.T) { overBoth(t, testStartFails) }

func testStartFails(t *testing.T, h *harness) {
	h.configure()
	_, err := h.AddContainer(h.ctx, &agentpb.AddContainerRequest{Container: spec(&agentpb.ContainerSpec{Name: "web", Argv: []string{"missing"}})})
	if err == nil || !strings.Contains(err.Error(), `"missing" not found`) {
		t.Errorf("got %v", err)
	}
	state, err := h.Describe(h.ctx, &agentpb.DescribeRequest{})
	if err != nil || len(state.GetContainers()) != 0 || h.files.At("/merged") != nil {
		t.Errorf("something is left: %v %v", state, err)
	}
}

// TestBareGuest: one without the calls that our guests add to the contract.
func TestBareGuest(t *testing.T) {
	h := newHarness(t)
	h.files.Bare = true
	h.configure()
	for range 2 { // what fails leaves nothing in the way of what comes next
		for want, c := range map[string]*agentpb.ContainerSpec{
			`"missing" not found`: {Name: "web", Argv: []string{"missing"}},
			"runAsNonRoot":        {Name: "web", Argv: []string{"forever"}, User: "app", Security: &agentpb.SecurityContext{NonRoot: true}},
		} {
			_, err := h.AddContainer(h.ctx, &agentpb.AddContainerRequest{Container: spec(c)})
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "no such process") {
				t.Errorf("got %v", err)
			}
		}
	}
	h.add(&agentpb.ContainerSpec{Name: "web", Argv: []string{"say", "hello"}})
	if r, err := h.WaitContainer(h.ctx, &agentpb.WaitContainerRequest{Name: "web"}); err != nil || r.GetExitCode() != 3 {
		t.Errorf("wait: %v %v", r, err)
	}
	if _, err := h.AddEmptyDir(h.ctx, &agentpb.AddEmptyDirRequest{Name: "data", Digest: "d"}); err != nil {
		t.Error(err)
	}
	if _, err := h.RemoveEmptyDir(h.ctx, &agentpb.RemoveEmptyDirRequest{Name: "data"}); status.Code(err) != codes.Unimplemented {
		t.Errorf("remove emptyDir: %v", err)
	}
	h.shutdown()
}

func TestRefused(t *testing.T) {
	h := newHarness(t)
	for what, req := range map[string]*agentpb.ConfigureRequest{
		"shareProcessNamespace": {ShareProcesses: true}, "hostPID": {HostPid: true}, "fsGroup": {FsGroup: proto.Int64(5)},
		"hardware address": {Network: &agentpb.NetworkConfig{Address: "10.99.0.7/16", Gateway: "10.99.0.1", Mac: "52:54:00:00:00:02"}},
	} {
		demandRefused(t, what, h.configureWith(req))
	}
	h.configure()
	if _, err := h.AddEmptyDir(h.ctx, &agentpb.AddEmptyDirRequest{Name: "data", Digest: "d"}); err != nil {
		t.Fatal(err)
	}
	_, err := h.AddEmptyDir(h.ctx, &agentpb.AddEmptyDirRequest{Name: "small", Digest: "d", SizeLimitBytes: 1 << 20})
	demandRefused(t, "sizeLimit", err)
	_, err = h.AddVolume(h.ctx, &agentpb.AddVolumeRequest{Name: "config", Digest: "d", Source: &agentpb.AddVolumeRequest_Files{
		Files: &agentpb.FilesVolume{Files: []*agentpb.VolumeFile{{Path: "a", Mode: 0o644, Data: []byte("x")}}},
	}})
	demandRefused(t, "volume config", err)
	demandRefused(t, "write a file", h.writeFile())
	tcp := &agentpb.Handler{Action: &agentpb.Handler_TcpSocket{TcpSocket: &agentpb.TCPSocketAction{Port: 80}}}
	for _, c := range []struct {
		what string
		spec *agentpb.ContainerSpec
	}{
		{"privileged", &agentpb.ContainerSpec{Security: &agentpb.SecurityContext{Privileged: true}}},
		{"seccomp", &agentpb.ContainerSpec{Security: &agentpb.SecurityContext{
			Seccomp: agentpb.SecurityContext_PROFILE, SeccompProfile: []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`),
		}}},
		{"runAsNonRoot", &agentpb.ContainerSpec{User: "app", Security: &agentpb.SecurityContext{NonRoot: true}}},
		{"Strict", &agentpb.ContainerSpec{User: "1000", Security: &agentpb.SecurityContext{StrictGroups: true}}},
		{"subPath", &agentpb.ContainerSpec{Mounts: []*agentpb.Mount{{Volume: "data", Path: "/d", SubPath: "a"}}}},
		{"propagation", &agentpb.ContainerSpec{Mounts: []*agentpb.Mount{{Volume: "data", Path: "/d", Propagation: agentpb.Mount_BIDIRECTIONAL}}}},
		{"preStop", &agentpb.ContainerSpec{PreStop: tcp}},
	} {
		c.spec.Name, c.spec.Argv = "web", []string{"forever"}
		_, err := h.AddContainer(h.ctx, &agentpb.AddContainerRequest{Container: spec(c.spec)})
		demandRefused(t, c.what, err)
	}
	_, err = h.AddContainer(h.ctx, &agentpb.AddContainerRequest{Container: spec(&agentpb.ContainerSpec{
		Name: "web", Argv: []string{"forever"}, Security: &agentpb.SecurityContext{User: proto.Int64(0), NonRoot: true},
	})})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("root where there must be none: %v", err)
	}
	if h.files.Mounts() != 2 { // the store and shared memory
		t.Errorf("what was refused left %d mounts", h.files.Mounts())
	}
}

func TestNetwork(t *testing.T) {
	h := newHarness(t)
	err := h.configureWith(&agentpb.ConfigureRequest{Network: &agentpb.NetworkConfig{Address: "10.99.0.7/16", Gateway: "10.99.0.1", Mac: remotetest.MAC}})
	want := []string{"link eth0 up=true", "address eth0 10.99.0.7/16", "route eth0 10.99.0.1"}
	if err != nil || !slices.Equal(h.files.Network, want) {
		t.Errorf("%v: %q, want %q", err, h.files.Network, want)
	}
}

// TestReboot: the records outlive a boot of the guest.
func TestReboot(t *testing.T) {
	before := newHarness(t)
	before.configure()
	before.add(&agentpb.ContainerSpec{Name: "web", Argv: []string{"forever"}})
	before.closed = true
	h := newHarnessWith(t, before.guest.Close(), nil)
	h.configure()
	state, err := h.Describe(h.ctx, &agentpb.DescribeRequest{})
	if err != nil || len(state.GetContainers()) != 1 || state.GetContainers()[0].GetState() != agentpb.ContainerState_TERMINATED {
		t.Fatal(state, err)
	}
	h.add(&agentpb.ContainerSpec{Name: "web", Argv: []string{"forever"}})
	state, err = h.Describe(h.ctx, &agentpb.DescribeRequest{})
	if err != nil || state.GetContainers()[0].GetRestartCount() != 1 {
		t.Errorf("a second run: %v %v", state, err)
	}
}

func demandRefused(t *testing.T, what string, err error) {
	t.Helper()
	if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), what) {
		t.Errorf("%s: %v", what, err)
	}
}

func (h *harness) writeFile() error {
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	stream, err := h.WriteFile(ctx)
	if err != nil {
		return err
	}
	target := &agentpb.WriteFileRequest_Target{EmptyDir: "data", Path: "f"}
	if err := stream.Send(&agentpb.WriteFileRequest{Message: &agentpb.WriteFileRequest_Target_{Target: target}}); err != nil {
		return err
	}
	_, err = stream.CloseAndRecv()
	return err
}
