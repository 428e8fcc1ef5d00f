package main_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/remote"
)

// podless is a connection to a guest that has no pod service.
type podless struct{ grpc.ClientConnInterface }

func (c podless) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if strings.HasPrefix(method, "/"+agentpb.Agent_ServiceDesc.ServiceName+"/") {
		return status.Error(codes.Unimplemented, "unknown service")
	}
	return c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

// TestRemote boots one machine, hides its pod service, and has the pod's agent run here.
func TestRemote(t *testing.T) {
	dir := t.TempDir()
	format(t, filepath.Join(dir, "store.img"))
	m := boot(t, dir)
	m.addTemplate(disk)
	off := make(chan struct{})
	guest, err := remote.NewGuest("test", remote.Options{
		BootID: m.session.BootID(), Log: testr.New(t), PowerOff: func() error { close(off); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	guest.Attach(podless{m.conn}, remote.OverLink(m.session))
	m.AgentClient = agentpb.NewAgentClient(guest.Conn())
	began := time.Now()
	m.configure()
	t.Logf("store opened in %v", time.Since(began).Round(time.Millisecond))
	for _, d := range []*agentpb.AddEmptyDirRequest{
		{Name: "data", Digest: "sha256:1"}, {Name: "mem", Digest: "sha256:2", Memory: true, SizeLimitBytes: 1 << 20},
	} {
		if _, err := m.AddEmptyDir(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	m.add(&agentpb.ContainerSpec{
		Name: "web", Argv: []string{"/probe", "sleep"}, User: "app", Cwd: "/new/dir", Env: []string{"A=1"},
		Mounts:    []*agentpb.Mount{{Volume: "data", Path: "/data"}, {Volume: "mem", Path: "/mem"}},
		Resources: &agentpb.Resources{MemoryLimitBytes: 64 << 20},
	})
	m.remoteRuns(t)
	m.remoteEnds(t)
	if r, err := m.Trim(t.Context(), &agentpb.TrimRequest{}); err != nil || r.GetTrimmedBytes() == 0 || r.GetPod().GetStore().GetSizeBytes() == 0 {
		t.Errorf("trim: %v %v", r, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := m.Shutdown(ctx, &agentpb.ShutdownRequest{Grace: durationpb.New(time.Second)}); err != nil {
		t.Error(err)
	}
	select {
	case <-off:
	case <-ctx.Done():
		t.Error("nobody was asked to power the machine off")
	}
}

// remoteRuns: what runs is as it is with the guest's own agent.
func (m *machine) remoteRuns(t *testing.T) {
	r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "show"}}, "")
	t.Logf("exec took %v", r.took.Round(time.Millisecond))
	for _, want := range []string{
		"uid=1000 gid=100 groups=[29]", "host=demo", "cwd=/new/dir", `"A=1"`, `"HOSTNAME=demo"`, " /mem ", "size=1024k", "CapBnd:\t00000000a80425fb",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in:\n%s", want, r.stdout)
		}
	}
	if r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "write", "/data/f", "hello"}}, ""); r.code != 0 {
		t.Errorf("write: %+v", r)
	}
	if r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "echo"}}, "hi\n"); r.stdout != "got hi\n" || r.code != 0 {
		t.Errorf("echo: %+v", r)
	}
	r = m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "echo"}, Tty: true, Rows: 33, Columns: 111}, "hi\n")
	if !strings.Contains(r.stdout, "terminal 33x111") || !strings.Contains(r.stdout, "got hi") {
		t.Errorf("echo on a terminal: %+v", r)
	}
	if r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "out", "1048576"}}, ""); len(r.stdout) != 1<<20 {
		t.Errorf("got %d bytes of output", len(r.stdout))
	}
}

// remoteEnds: how containers end is known, and nothing of them stays.
func (m *machine) remoteEnds(t *testing.T) {
	m.add(&agentpb.ContainerSpec{Name: "short", Argv: []string{"/probe", "exit", "7"}})
	if w := m.wait("short"); w.GetExitCode() != 7 || string(w.GetTail()) != "exiting 7\n" {
		t.Errorf("exit code %d, output %q", w.GetExitCode(), w.GetTail())
	}
	last := "/dev/termination-log"
	m.add(&agentpb.ContainerSpec{Name: "poet", Argv: []string{"/probe", "write", last, "last words"}, TerminationMessagePath: last})
	for _, c := range m.wait("poet").GetPod().GetContainers() {
		if c.GetName() == "poet" && (c.GetExitCode() != 0 || c.GetMessage() != "last words") {
			t.Errorf("exit code %d, message %q", c.GetExitCode(), c.GetMessage())
		}
	}
	m.add(&agentpb.ContainerSpec{Name: "greedy", Argv: []string{"/probe", "alloc"}, Resources: &agentpb.Resources{MemoryLimitBytes: 32 << 20}})
	if w := m.wait("greedy"); w.GetExitCode() != 137 || w.GetReason() != "OOMKilled" {
		t.Errorf("exit code %d, reason %q", w.GetExitCode(), w.GetReason())
	}
	_, err := m.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: fill(&agentpb.ContainerSpec{Name: "bad", Argv: []string{"/nothing"}})})
	if err == nil || !strings.Contains(err.Error(), "/nothing") {
		t.Errorf("a command that is not there: %v", err)
	}
	t.Log(err)
	if code := m.remove("web", 10*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, dir := range []string{"data", "mem"} {
		if _, err := m.RemoveEmptyDir(t.Context(), &agentpb.RemoveEmptyDirRequest{Name: dir}); err != nil {
			t.Error(err)
		}
	}
}

// format makes a store as hosts do.
func format(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(1<<30), f.Close()); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", path).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4: %v\n%s", err, out)
	}
}
