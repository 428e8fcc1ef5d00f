package main_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

const disk = "i0123456789abcdef012"

// TestGuest boots one machine and runs containers in it.
func TestGuest(t *testing.T) {
	m := boot(t, t.TempDir())
	m.addTemplate(disk)
	ctx := t.Context()
	began := time.Now()
	m.configure()
	t.Logf("store opened (blank: formatted) in %v", time.Since(began).Round(time.Millisecond))
	for _, dir := range []*agentpb.AddEmptyDirRequest{
		{Name: "data", Digest: "sha256:1"}, {Name: "mem", Digest: "sha256:2", Memory: true, SizeLimitBytes: 1 << 20},
	} {
		if _, err := m.AddEmptyDir(ctx, dir); err != nil {
			t.Fatal(err)
		}
	}
	web := m.add(&agentpb.ContainerSpec{
		Name: "web", Argv: []string{"/probe", "sleep"}, User: "app", Cwd: "/new/dir", Env: []string{"A=1"},
		Mounts: []*agentpb.Mount{
			{Volume: "data", Path: "/data"}, {Volume: "data", Path: "/sub", SubPath: "a/b", ReadOnly: true}, {Volume: "mem", Path: "/mem"},
		},
		Resources: &agentpb.Resources{CpuLimitMilli: 500, MemoryLimitBytes: 64 << 20},
	})
	for _, p := range web.GetPhases() {
		t.Logf("phase %s: %v", p.GetName(), p.GetTook().AsDuration().Round(time.Millisecond))
	}

	if r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "cat", "/proc/meminfo"}}, ""); r.code == 0 {
		t.Logf("memory with one idle container: %q", strings.SplitN(r.stdout, "\n", 4)[:3])
	}
	t.Run("sees what it should", func(t *testing.T) {
		r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "show"}}, "")
		t.Logf("exec took %v", r.took.Round(time.Millisecond))
		for _, want := range []string{
			"uid=1000 gid=100 groups=[29", "host=demo", "cwd=/new/dir", `"HOME=/home/app"`, `"A=1"`, `"HOSTNAME=demo"`,
			"CapBnd:\t00000000a80425fb", "NoNewPrivs:\t0",
		} {
			if !strings.Contains(r.stdout, want) {
				t.Errorf("no %q in:\n%s", want, r.stdout)
			}
		}
	})
	t.Run("memory emptyDir is a tmpfs of its size", func(t *testing.T) {
		r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "show"}}, "")
		if !strings.Contains(r.stdout, " /mem ") || !strings.Contains(r.stdout, "size=1024k") {
			t.Errorf("no tmpfs of 1 MiB at /mem:\n%s", r.stdout)
		}
	})
	t.Run("emptyDirs are writable and sub-paths read-only", func(t *testing.T) {
		if r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "write", "/data/f", "hello"}}, ""); r.code != 0 {
			t.Errorf("write: %+v", r)
		}
		r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "write", "/sub/f", "hello"}}, "")
		if r.code != 1 || !strings.Contains(r.stderr, "read-only") {
			t.Errorf("write below a read-only mount: %+v", r)
		}
	})
	t.Run("limits are set", func(t *testing.T) {
		for file, want := range map[string]string{
			"cpu.max": "50000 100000\n", "memory.max": "67108864\n", "memory.swap.max": "0\n", "memory.oom.group": "1\n",
			"cpu.weight": "1\n",
		} {
			r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "cat", "/sys/fs/cgroup/" + file}}, "")
			if r.stdout != want {
				t.Errorf("%s: %+v, want %q", file, r, want)
			}
		}
	})
	t.Run("a sub-path does not lead out of its emptyDir", func(t *testing.T) {
		argv := []string{"/probe", "link", "/run/firkin", "/data/out"}
		if r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: argv}, ""); r.code != 0 {
			t.Fatalf("link: %+v", r)
		}
		_, err := m.AddContainer(ctx, &agentpb.AddContainerRequest{Container: fill(&agentpb.ContainerSpec{
			Name: "curious", Argv: []string{"/probe", "sleep"}, Mounts: []*agentpb.Mount{{Volume: "data", Path: "/x", SubPath: "out"}},
		})})
		if err == nil {
			t.Error("mounted what the link leads to")
		}
	})
	t.Run("exec gives input, output and code", func(t *testing.T) {
		r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "echo"}}, "hi\n")
		if r.stdout != "got hi\n" || r.code != 0 {
			t.Errorf("echo: %+v", r)
		}
		if r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "exit", "7"}}, ""); r.code != 7 {
			t.Errorf("exit 7: %+v", r)
		}
	})
	t.Run("exec with a terminal", func(t *testing.T) {
		r := m.exec(&agentpb.ExecRequest_Start{
			Container: "web", Argv: []string{"/probe", "echo"}, Tty: true, Rows: 33, Columns: 111,
		}, "hi\n")
		if !strings.Contains(r.stdout, "terminal 33x111") || !strings.Contains(r.stdout, "got hi") {
			t.Errorf("echo: %+v", r)
		}
	})
	t.Run("all output comes before the exit", func(t *testing.T) {
		const size = 1 << 20
		if r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "out", "1048576"}}, ""); len(r.stdout) != size {
			t.Errorf("got %d bytes of %d", len(r.stdout), size)
		}
	})
	t.Run("a process left behind does not hold up an exec", func(t *testing.T) {
		r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "linger"}}, "")
		if !strings.Contains(r.stdout, "left behind") || r.took > 10*time.Second {
			t.Errorf("linger: %+v", r)
		}
	})
	t.Run("devices are out of reach", func(t *testing.T) {
		m.add(&agentpb.ContainerSpec{Name: "root", Argv: []string{"/probe", "sleep"}})
		for _, node := range [][]string{{"8", "0"}, {"10", "1"}, {"5", "1"}} {
			argv := append([]string{"/probe", "open", "/node" + node[0]}, node...)
			r := m.exec(&agentpb.ExecRequest_Start{Container: "root", Argv: argv}, "")
			if r.code != 1 || !strings.Contains(r.stderr, "operation not permitted") {
				t.Errorf("device %v: %+v", node, r)
			}
		}
		m.remove("root", time.Second)
	})
	t.Run("a container out of memory says so", func(t *testing.T) {
		m.add(&agentpb.ContainerSpec{
			Name: "greedy", Argv: []string{"/probe", "alloc"}, Resources: &agentpb.Resources{MemoryLimitBytes: 32 << 20},
		})
		w := m.wait("greedy")
		if w.GetExitCode() != 137 || w.GetReason() != "OOMKilled" {
			t.Errorf("exit code %d, reason %q", w.GetExitCode(), w.GetReason())
		}
	})
	t.Run("containers that end at once keep their exit codes and output", func(t *testing.T) {
		for i := range 10 {
			name, code := fmt.Sprintf("short%d", i), strconv.Itoa(i)
			m.add(&agentpb.ContainerSpec{Name: name, Argv: []string{"/probe", "exit", code}})
			if w := m.wait(name); w.GetExitCode() != int32(i) || string(w.GetTail()) != "exiting "+code+"\n" {
				t.Errorf("exit code %d, output %q; want %d", w.GetExitCode(), w.GetTail(), i)
			}
		}
	})
	t.Run("a command that is not there", func(t *testing.T) {
		_, err := m.AddContainer(ctx, &agentpb.AddContainerRequest{Container: fill(&agentpb.ContainerSpec{Name: "bad", Argv: []string{"/nothing"}})})
		if err == nil || !strings.Contains(err.Error(), "/nothing") {
			t.Errorf("got %v", err)
		}
		t.Log(err)
	})
	t.Run("a path in the guest as root", func(t *testing.T) {
		m.add(&agentpb.ContainerSpec{Name: "guestroot", RootfsPath: "/", Argv: []string{"/usr/sbin/mkfs.ext4", "-V"}})
		if w := m.wait("guestroot"); w.GetExitCode() != 0 || !strings.Contains(string(w.GetTail()), "mke2fs") {
			t.Errorf("got %v", w)
		}
	})
	t.Run("remove lets a container end by itself", func(t *testing.T) {
		if code := m.remove("web", 10*time.Second); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("trim", func(t *testing.T) {
		r, err := m.Trim(ctx, &agentpb.TrimRequest{})
		if err != nil || r.GetTrimmedBytes() == 0 || r.GetPod().GetStore().GetTemplates() != 0 {
			t.Errorf("trim: %v %v", r, err)
		}
	})
	t.Run("shutdown", func(t *testing.T) {
		shutdownCtx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		if _, err := m.Shutdown(shutdownCtx, &agentpb.ShutdownRequest{Grace: durationpb.New(time.Second)}); err != nil {
			t.Error(err)
		}
		select {
		case <-m.done:
		case <-shutdownCtx.Done():
			t.Error("the machine did not power off")
		}
	})
}

// TestCrash ends a machine by force and boots it again on its store.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	m := boot(t, dir)
	m.addTemplate(disk)
	m.configure()
	volumes := []*agentpb.AddEmptyDirRequest{{Name: "data", Digest: "sha256:1"}, {Name: "mem", Digest: "sha256:2", Memory: true}}
	for _, v := range volumes {
		if _, err := m.AddEmptyDir(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	spec := &agentpb.ContainerSpec{
		Name: "web", Argv: []string{"/probe", "sleep"},
		Mounts: []*agentpb.Mount{{Volume: "data", Path: "/data"}, {Volume: "mem", Path: "/mem"}},
	}
	m.add(spec)
	for _, v := range volumes {
		m.writeFile(v.GetName(), "sub/file", "kept")
	}
	m.kill()

	m = boot(t, dir)
	m.addTemplate(disk)
	state := m.configure()
	if c := state.GetContainers(); len(c) != 1 || c[0].GetState() != agentpb.ContainerState_TERMINATED || c[0].GetExitCode() != 255 {
		t.Errorf("containers after the crash: %v", c)
	}
	m.add(spec)
	for path, want := range map[string]string{"/data/sub/file": "kept", "/mem/sub/file": ""} {
		r := m.exec(&agentpb.ExecRequest_Start{Container: "web", Argv: []string{"/probe", "cat", path}}, "")
		if r.stdout != want {
			t.Errorf("%s: %+v, want %q", path, r, want)
		}
	}
}

func (m *machine) configure() *agentpb.PodState {
	m.t.Helper()
	return m.configureWith(func(*agentpb.ConfigureRequest) {})
}

// configureWith configures the pod with something more.
func (m *machine) configureWith(more func(*agentpb.ConfigureRequest)) *agentpb.PodState {
	m.t.Helper()
	req := &agentpb.ConfigureRequest{
		Pod: &agentpb.PodIdentity{Uid: "u", Namespace: "default", Name: "demo", Source: "/x", VmDigest: "sha256:0"}, Hostname: "demo",
	}
	more(req)
	state, err := m.Configure(m.t.Context(), req)
	if err != nil {
		m.t.Fatal(err)
	}
	return state
}

func (m *machine) writeFile(emptyDir, path, text string) {
	m.t.Helper()
	stream, err := m.WriteFile(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	for _, r := range []*agentpb.WriteFileRequest{
		{Message: &agentpb.WriteFileRequest_Target_{Target: &agentpb.WriteFileRequest_Target{EmptyDir: emptyDir, Path: path}}},
		{Message: &agentpb.WriteFileRequest_Data{Data: []byte(text)}},
	} {
		if err := stream.Send(r); err != nil {
			m.t.Fatal(err)
		}
	}
	if _, err := stream.CloseAndRecv(); err != nil {
		m.t.Fatal(err)
	}
}

// fill sets what every container has.
func fill(spec *agentpb.ContainerSpec) *agentpb.ContainerSpec {
	spec.Digest, spec.Image, spec.ImageId = "sha256:"+spec.GetName(), "probe", "sha256:probe"
	if spec.GetRootfsPath() == "" {
		spec.RootfsDisk = disk
	}
	return spec
}

func (m *machine) add(spec *agentpb.ContainerSpec) *agentpb.AddContainerResponse {
	m.t.Helper()
	began := time.Now()
	r, err := m.AddContainer(m.t.Context(), &agentpb.AddContainerRequest{Container: fill(spec)})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Logf("container %s added in %v", spec.GetName(), time.Since(began).Round(time.Millisecond))
	return r
}

func (m *machine) wait(name string) *agentpb.WaitContainerResponse {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	r, err := m.WaitContainer(ctx, &agentpb.WaitContainerRequest{Name: name})
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

func (m *machine) remove(name string, grace time.Duration) int32 {
	m.t.Helper()
	r, err := m.RemoveContainer(m.t.Context(), &agentpb.RemoveContainerRequest{Name: name, Grace: durationpb.New(grace)})
	if err != nil {
		m.t.Fatal(err)
	}
	return r.GetExitCode()
}
