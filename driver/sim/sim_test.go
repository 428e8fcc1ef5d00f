package sim_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/sim"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a world with a driver, closed with the test.
func world(t testing.TB, faults string) (*sim.World, *sim.Driver) {
	t.Helper()
	f, err := sim.ParseFaults(faults)
	if err != nil {
		t.Fatal(err)
	}
	w := sim.NewWorld(sim.Options{Faults: f, Log: logr.Discard()})
	d := sim.NewDriver(w)
	return w, d
}

func closeAll(t testing.TB, w *sim.World, d *sim.Driver) {
	t.Helper()
	if err := errors.Join(d.Close(), w.Close()); err != nil {
		t.Error(err)
	}
}

func spec(n int) driver.Spec {
	return driver.Spec{ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), Name: "default/web", CPUs: 1, MemoryBytes: 1 << 27, StoreBytes: 1 << 30}
}

func create(t testing.TB, d driver.Driver, n int) (driver.Machine, agentpb.AgentClient) {
	t.Helper()
	m, err := d.Create(t.Context(), spec(n))
	if err != nil {
		t.Fatal(err)
	}
	return m, configure(t, m)
}

func configure(t testing.TB, m driver.Machine) agentpb.AgentClient {
	t.Helper()
	a := agentpb.NewAgentClient(m.Agent())
	if _, err := a.Configure(t.Context(), &agentpb.ConfigureRequest{
		Pod: &agentpb.PodIdentity{Uid: m.ID(), Namespace: "default", Name: "web", VmDigest: "v"}, Hostname: "web",
	}); err != nil {
		t.Fatal(err)
	}
	return a
}

func add(t testing.TB, a agentpb.AgentClient, name string, argv ...string) {
	t.Helper()
	if _, err := a.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: &agentpb.ContainerSpec{
		Name: name, Digest: "d", Image: "guest:/", RootfsPath: "/", Argv: argv,
		Mounts: []*agentpb.Mount{{Volume: "data", Path: "/data"}},
	}}); err != nil {
		t.Fatal(err)
	}
}

func addDir(t testing.TB, a agentpb.AgentClient) {
	t.Helper()
	if _, err := a.AddEmptyDir(t.Context(), &agentpb.AddEmptyDirRequest{Name: "data", Digest: "d"}); err != nil {
		t.Fatal(err)
	}
}

func TestCommands(t *testing.T) {
	tests := []struct {
		argv []string
		code int32
		tail string
		took time.Duration
	}{
		{argv: []string{"true"}},
		{argv: []string{"/bin/false"}, code: 1},
		{argv: []string{"exit", "7"}, code: 7},
		{argv: []string{"echo", "a", "b"}, tail: "a b\n"},
		{argv: []string{"sleep", "30"}, took: 30 * time.Second},
		{argv: []string{"sh", "-c", "echo one; sleep 2 && echo 'two  three' && exit 3; echo no"}, code: 3, tail: "one\ntwo  three\n", took: 2 * time.Second},
		{argv: []string{"sh", "-c", "false && echo no; echo yes"}, tail: "yes\n"},
		{argv: []string{"sh", "-c", "echo x>/data/f; echo y >> /data/f; cat /data/f"}, tail: "x\ny\n"},
		{argv: []string{"sh", "-c", "echo bad >&2"}, tail: "bad\n"},
		{argv: []string{"sh", "-c", "cat /data/none"}, code: 1, tail: "sim: cat /data/none: file does not exist\n"},
		{argv: []string{"sh", "-c", "echo 'x"}, code: 2, tail: "sim: unterminated quoted string\n"},
	}
	for i, tt := range tests {
		t.Run(strings.Join(tt.argv, " "), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d := world(t, "")
				defer closeAll(t, w, d)
				_, a := create(t, d, i)
				addDir(t, a)
				begin := time.Now()
				add(t, a, "main", tt.argv...)
				r, err := a.WaitContainer(t.Context(), &agentpb.WaitContainerRequest{Name: "main"})
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); r.GetExitCode() != tt.code || string(r.GetTail()) != tt.tail || took != tt.took {
					t.Errorf("exit %d, tail %q, took %s; want %d, %q, %s", r.GetExitCode(), r.GetTail(), took, tt.code, tt.tail, tt.took)
				}
			})
		})
	}
}

func TestSignals(t *testing.T) {
	tests := []struct {
		name   string
		script string
		code   int32
		took   time.Duration
	}{
		{"default", "sleep infinity", 143, 0},
		{"trap with exit", "trap 'exit 5' TERM; sleep infinity & wait", 5, 0},
		{"ignored", "trap '' TERM; sleep infinity", 137, 10 * time.Second},
		{"ignore-term", "ignore-term; nginx", 137, 10 * time.Second},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d := world(t, "")
				defer closeAll(t, w, d)
				_, a := create(t, d, i)
				addDir(t, a)
				add(t, a, "main", "sh", "-c", tt.script)
				synctest.Wait()
				begin := time.Now()
				r, err := a.RemoveContainer(t.Context(), &agentpb.RemoveContainerRequest{Name: "main", Grace: durationpb.New(10 * time.Second)})
				if err != nil || r.GetExitCode() != tt.code || time.Since(begin) != tt.took {
					t.Errorf("exit %d after %s, %v; want %d after %s", r.GetExitCode(), time.Since(begin), err, tt.code, tt.took)
				}
			})
		})
	}
}

// A Create that fails leaves nothing, also of a machine that somebody found and started meanwhile.
func TestFailedCreateEndsWhatWasStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := world(t, "Create=1*hang")
		defer closeAll(t, w, d)
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := d.Create(ctx, spec(1))
			failed <- err
		}()
		synctest.Wait()
		all, err := d.Machines(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatalf("machines %v, %v", all, err)
		}
		if err := all[0].Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		a := configure(t, all[0])
		addDir(t, a)
		add(t, a, "main", "sh", "-c", "write /data/f hello; sleep infinity")
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("create: %v", err)
		}
		if _, err := a.Describe(t.Context(), &agentpb.DescribeRequest{}); err == nil {
			t.Error("its agent still answers")
		}
		if all, err := d.Machines(t.Context()); err != nil || len(all) != 0 {
			t.Errorf("machines %v, %v", all, err)
		}
	})
}

func TestCrashKeepsDiskAndMarksContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := world(t, "")
		defer closeAll(t, w, d)
		m, a := create(t, d, 1)
		addDir(t, a)
		add(t, a, "main", "sh", "-c", "write /data/f hello; sleep infinity")
		synctest.Wait()
		if err := w.Kill(m.ID()); err != nil {
			t.Fatal(err)
		}
		if i, err := m.Info(t.Context()); err != nil || i.State != driver.StateStopped || i.Message != "machine ended: killed" {
			t.Errorf("info = %+v, %v", i, err)
		}
		if _, err := a.Describe(t.Context(), &agentpb.DescribeRequest{}); status.Code(err) != codes.Unavailable {
			t.Errorf("describe: %v", err)
		}
		// Another driver, as after a restart of the reconciler.
		other := sim.NewDriver(w)
		defer other.Close()
		all, err := other.Machines(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		if err := all[0].Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		a = configure(t, all[0])
		s, err := a.Describe(t.Context(), &agentpb.DescribeRequest{})
		if err != nil {
			t.Fatal(err)
		}
		c := s.GetContainers()[0]
		if c.GetState() != agentpb.ContainerState_TERMINATED || c.GetExitCode() != 255 || c.GetReason() != "MachineDied" {
			t.Errorf("container = %v", c)
		}
		r, err := a.ReadFile(t.Context(), &agentpb.ReadFileRequest{EmptyDir: "data", Path: "f"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Recv(); err != nil || string(got.GetData()) != "hello" {
			t.Errorf("file = %q, %v", got.GetData(), err)
		}
		for {
			if _, err := r.Recv(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestTrimGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := world(t, "")
		defer closeAll(t, w, d)
		m, a := create(t, d, 1)
		addDir(t, a)
		add(t, a, "main", "sh", "-c", "fill /data/f 209715200; rm /data/f")
		if _, err := a.WaitContainer(t.Context(), &agentpb.WaitContainerRequest{Name: "main"}); err != nil {
			t.Fatal(err)
		}
		before, _ := m.Info(t.Context())
		r, err := a.Trim(t.Context(), &agentpb.TrimRequest{})
		after, _ := m.Info(t.Context())
		if err != nil || r.GetTrimmedBytes() < 200<<20 || before.StoreHostBytes-after.StoreHostBytes < 200<<20 {
			t.Errorf("trimmed %d, host %d -> %d, %v", r.GetTrimmedBytes(), before.StoreHostBytes, after.StoreHostBytes, err)
		}
	})
}

func TestExec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := world(t, "")
		defer closeAll(t, w, d)
		_, a := create(t, d, 1)
		addDir(t, a)
		add(t, a, "main", "sleep", "infinity")
		s, err := a.Exec(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, req := range []*agentpb.ExecRequest{
			{Message: &agentpb.ExecRequest_Start_{Start: &agentpb.ExecRequest_Start{Container: "main", Argv: []string{"cat"}, Stdin: true}}},
			{Message: &agentpb.ExecRequest_Stdin{Stdin: []byte("hello")}},
			{Message: &agentpb.ExecRequest_StdinEof{StdinEof: true}},
		} {
			if err := s.Send(req); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		var code int32 = -1
		for {
			r, err := s.Recv()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			out.Write(r.GetStdout())
			if e := r.GetExit(); e != nil {
				code = e.GetCode()
			}
		}
		if out.String() != "hello" || code != 0 {
			t.Errorf("exec: %q, exit %d", out.String(), code)
		}
	})
}

func TestFaultsReachTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := world(t, "Create=2*transient(busy); Prepare=1*error(no space)->1*panic(oops); Info=1*off->1*error(silent)")
		defer closeAll(t, w, d)
		m, a := create(t, d, 1)
		addDir(t, a)
		req := &agentpb.AddContainerRequest{Container: &agentpb.ContainerSpec{Name: "main", Digest: "d", RootfsPath: "/", Argv: []string{"true"}}}
		if _, err := a.AddContainer(t.Context(), req); err == nil || !strings.Contains(err.Error(), "no space") {
			t.Errorf("add: %v", err)
		}
		for _, want := range []driver.State{driver.StateRunning, driver.StateUnknown, driver.StateRunning} {
			if i, err := m.Info(t.Context()); err != nil || i.State != want {
				t.Errorf("state = %s, %v; want %s", i.State, err, want)
			}
		}
		if _, err := a.AddContainer(t.Context(), req); err == nil {
			t.Error("added in a machine that died")
		}
		synctest.Wait()
		if i, _ := m.Info(t.Context()); i.State != driver.StateStopped || !strings.Contains(i.Message, "oops") {
			t.Errorf("info = %+v", i)
		}
	})
}

func TestHungShutdownIsForced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := world(t, "CloseStore=hang")
		defer closeAll(t, w, d)
		m, _ := create(t, d, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		if err := m.Stop(ctx); err != nil || time.Since(begin) != 5*time.Second {
			t.Errorf("stop: %v after %s", err, time.Since(begin))
		}
		if i, _ := m.Info(t.Context()); i.State != driver.StateStopped {
			t.Errorf("info = %+v", i)
		}
	})
}

// BenchmarkMachines says what a running machine with a container costs.
func BenchmarkMachines(b *testing.B) {
	w, d := world(b, "")
	defer closeAll(b, w, d)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := 0
	for b.Loop() {
		_, a := create(b, d, n)
		addDir(b, a)
		add(b, a, "main", "sleep", "infinity")
		n++
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/float64(n), "B/machine")
	b.ReportMetric(float64(runtime.NumGoroutine())/float64(n), "goroutines/machine")
}
