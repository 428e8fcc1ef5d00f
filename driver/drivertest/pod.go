package drivertest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func (h *Harness) configure(t *testing.T, m driver.Machine) {
	t.Helper()
	_, err := client(m).Configure(call(t), &agentpb.ConfigureRequest{
		Pod:      &agentpb.PodIdentity{Uid: m.ID(), Namespace: "default", Name: "conformance", VmDigest: "v", Manifest: []byte(`{}`)},
		Hostname: "conformance",
	})
	if err != nil {
		t.Fatal(err)
	}
}

// container is a spec that runs a shell script with the emptyDir "data" at /data.
func (h *Harness) container(name, script string) *agentpb.ContainerSpec {
	spec := &agentpb.ContainerSpec{
		Name: name, Digest: "digest-" + name, Manifest: []byte(`{}`), Image: "test", ImageId: "sha256:0",
		Argv: []string{"sh", "-c", script}, Env: []string{"PATH=/bin"}, Cwd: "/",
		Mounts: []*agentpb.Mount{{Volume: "data", Path: "/data"}},
	}
	if h.Template != nil {
		spec.RootfsDisk = h.Template.ID
	} else {
		spec.RootfsPath = "/"
	}
	return spec
}

// pod runs a pod through its life; killAndStart counts on what it leaves behind.
func (h *Harness) pod(t *testing.T, m driver.Machine) {
	h.configure(t, m)
	a := client(m)
	if h.Template != nil {
		bring(t, m, *h.Template, false)
	}
	for range 2 { // every mutating call is idempotent
		if _, err := a.AddEmptyDir(call(t), &agentpb.AddEmptyDirRequest{Name: "data", Digest: "d"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := a.AddContainer(call(t), &agentpb.AddContainerRequest{Container: h.container("forever", "echo hello; sleep 1000000")}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(describe(t, m).GetContainers()); n != 1 {
		t.Errorf("%d containers, want 1", n)
	}
	t.Run("WatchBeginsWithTheState", func(t *testing.T) { watch(t, a) })
	t.Run("Output", func(t *testing.T) { output(t, a) })
	t.Run("Exec", func(t *testing.T) { exec(t, a) })
	t.Run("Files", func(t *testing.T) { files(t, m, a) })
	t.Run("WaitAndExitCode", func(t *testing.T) { h.wait(t, a) })
	t.Run("RemoveTwice", func(t *testing.T) { h.remove(t, m, a) })
	t.Run("FilesChangeInPlace", func(t *testing.T) { h.filesVolume(t, m, a) })
	t.Run("Probes", func(t *testing.T) { h.probes(t, m, a) })
	t.Run("PreStop", func(t *testing.T) { h.preStop(t, m, a) })
	t.Run("TerminationMessage", func(t *testing.T) { h.terminationMessage(t, a) })
	t.Run("Trim", func(t *testing.T) {
		if _, err := a.Trim(call(t), &agentpb.TrimRequest{}); err != nil {
			t.Error(err)
		}
	})
}

func watch(t *testing.T, a agentpb.AgentClient) {
	stream, err := a.Watch(call(t), &agentpb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if len(s.GetContainers()) != 1 || s.GetContainers()[0].GetState() != agentpb.ContainerState_RUNNING || len(s.GetEmptyDirs()) != 1 {
		t.Errorf("state %v", s)
	}
}

func output(t *testing.T, a agentpb.AgentClient) {
	stream, err := a.Output(call(t), &agentpb.OutputRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for !strings.Contains(got.String(), "hello\n") {
		chunk, err := stream.Recv()
		if err != nil {
			t.Fatalf("%v after %q", err, got.String())
		}
		if chunk.GetContainer() == "forever" {
			got.Write(chunk.GetData())
		}
	}
}

func exec(t *testing.T, a agentpb.AgentClient) {
	if out, code := run(t, a, "forever", "sh", "-c", "echo out; exit 3"); out != "out\n" || code != 3 {
		t.Errorf("stdout %q, exit code %d", out, code)
	}
}

// run runs a command in a container and returns its standard output and exit code.
func run(t *testing.T, a agentpb.AgentClient, container string, argv ...string) (string, int32) {
	t.Helper()
	stream, err := a.Exec(call(t))
	if err != nil {
		t.Fatal(err)
	}
	start := &agentpb.ExecRequest_Start{Container: container, Argv: argv}
	if err := stream.Send(&agentpb.ExecRequest{Message: &agentpb.ExecRequest_Start_{Start: start}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	code := int32(-1)
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stdout.String(), code
		}
		if err != nil {
			t.Fatal(err)
		}
		stdout.Write(r.GetStdout())
		if r.GetExit() != nil {
			code = r.GetExit().GetCode()
		}
	}
}

func files(t *testing.T, m driver.Machine, a agentpb.AgentClient) {
	if err := writeFile(t, a, "deep/file", "from the host"); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, m, "data", "deep/file"); got != "from the host" {
		t.Errorf("read back %q", got)
	}
	for _, path := range []string{"", "/abs", "a/../b", ".", "a//b"} {
		if err := writeFile(t, a, path, "x"); status.Code(err) != codes.InvalidArgument {
			t.Errorf("write to %q: %v, want InvalidArgument", path, err)
		}
	}
}

func writeFile(t *testing.T, a agentpb.AgentClient, path, text string) error {
	t.Helper()
	stream, err := a.WriteFile(call(t))
	if err != nil {
		return err
	}
	target := &agentpb.WriteFileRequest_Target{EmptyDir: "data", Path: path}
	// A refusal shows on CloseAndRecv; sends after it fail with EOF.
	_ = stream.Send(&agentpb.WriteFileRequest{Message: &agentpb.WriteFileRequest_Target_{Target: target}})
	_ = stream.Send(&agentpb.WriteFileRequest{Message: &agentpb.WriteFileRequest_Data{Data: []byte(text)}})
	_, err = stream.CloseAndRecv()
	return err
}

func readFile(t *testing.T, m driver.Machine, emptyDir, path string) string {
	t.Helper()
	stream, err := client(m).ReadFile(call(t), &agentpb.ReadFileRequest{EmptyDir: emptyDir, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return got.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		got.Write(r.GetData())
	}
}

func (h *Harness) wait(t *testing.T, a agentpb.AgentClient) {
	if _, err := a.AddContainer(call(t), &agentpb.AddContainerRequest{Container: h.container("seven", "echo bye; exit 7")}); err != nil {
		t.Fatal(err)
	}
	r, err := a.WaitContainer(call(t), &agentpb.WaitContainerRequest{Name: "seven"})
	if err != nil {
		t.Fatal(err)
	}
	if r.GetExitCode() != 7 || string(r.GetTail()) != "bye\n" {
		t.Errorf("exit code %d, tail %q", r.GetExitCode(), r.GetTail())
	}
	if _, err := a.WaitContainer(call(t), &agentpb.WaitContainerRequest{Name: "nobody"}); status.Code(err) != codes.NotFound {
		t.Errorf("wait for nobody: %v, want NotFound", err)
	}
}

func (h *Harness) remove(t *testing.T, m driver.Machine, a agentpb.AgentClient) {
	if _, err := a.AddContainer(call(t), &agentpb.AddContainerRequest{Container: h.container("brief", "sleep 1000000")}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.RemoveEmptyDir(call(t), &agentpb.RemoveEmptyDirRequest{Name: "data"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("remove a mounted emptyDir: %v, want FailedPrecondition", err)
	}
	for _, existed := range []bool{true, false} {
		r, err := a.RemoveContainer(call(t), &agentpb.RemoveContainerRequest{Name: "brief", Grace: durationpb.New(0)})
		if err != nil {
			t.Fatal(err)
		}
		if r.GetExisted() != existed {
			t.Errorf("existed %t, want %t", r.GetExisted(), existed)
		}
	}
	for _, c := range describe(t, m).GetContainers() {
		if c.GetName() == "brief" {
			t.Errorf("still there: %v", c)
		}
	}
}
