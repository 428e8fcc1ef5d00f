package shim_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/shim"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

const storeBytes = 64 << 20

// machines is a driver over simulated VMs in real shim processes, whose machines
// are gone with the test.
func machines(t *testing.T, shimArgs ...string) *shim.Driver {
	t.Helper()
	return driverIn(t, shortDir(t), shimArgs...)
}

// open is a driver that leaves its machines alone.
func open(t *testing.T, dir string, shimArgs ...string) *shim.Driver {
	t.Helper()
	d, err := shim.NewDriver(shim.Options{
		Dir: dir, Command: command(append([]string{"--driver", "sim"}, shimArgs...)...), Log: testr.New(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func driverIn(t *testing.T, dir string, shimArgs ...string) *shim.Driver {
	t.Helper()
	d := open(t, dir, shimArgs...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		all, err := d.Machines(ctx)
		if err != nil {
			t.Error(err)
		}
		for _, m := range all {
			if err := m.Delete(ctx); err != nil {
				t.Error(err)
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func newSpec() driver.Spec {
	return driver.Spec{ID: uuid.NewString(), Name: "default/web", CPUs: 1, MemoryBytes: 128 << 20, StoreBytes: storeBytes,
		Annotations: map[string]string{"a": "b"}}
}

func create(t *testing.T, d driver.Driver) driver.Machine {
	t.Helper()
	m, err := d.Create(limit(t), newSpec())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// limit is the deadline of one step of a test.
func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func info(t *testing.T, m driver.Machine) driver.Info {
	t.Helper()
	i, err := m.Info(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func configure(t *testing.T, m driver.Machine) agentpb.AgentClient {
	t.Helper()
	a := agentpb.NewAgentClient(m.Agent())
	if _, err := a.Configure(limit(t), &agentpb.ConfigureRequest{
		Pod: &agentpb.PodIdentity{Uid: m.ID(), Namespace: "default", Name: "web", VmDigest: "v"}, Hostname: "web",
	}); err != nil {
		t.Fatal(err)
	}
	return a
}

// run starts a container of a command.
func run(t *testing.T, a agentpb.AgentClient, name string, argv ...string) {
	t.Helper()
	if _, err := a.AddContainer(limit(t), &agentpb.AddContainerRequest{Container: &agentpb.ContainerSpec{
		Name: name, Digest: "d", Image: "guest:/", RootfsPath: "/", Argv: argv,
	}}); err != nil {
		t.Fatal(err)
	}
}

func TestShimOutlivesItsMaker(t *testing.T) {
	dir := shortDir(t)
	first := driverIn(t, dir)
	m := create(t, first)
	before := info(t, m)
	if before.State != driver.StateRunning || before.HolderPID == os.Getpid() || before.Driver != "sim" {
		t.Fatalf("info = %+v", before)
	}
	if sid, err := getsid(before.HolderPID); err != nil || sid != before.HolderPID {
		t.Errorf("session of the shim = %d, %v; want its own, %d", sid, err, before.HolderPID)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := driverIn(t, dir)
	all, err := second.Machines(limit(t))
	if err != nil || len(all) != 1 {
		t.Fatalf("machines = %v, %v", all, err)
	}
	after := info(t, all[0])
	if after.HolderPID != before.HolderPID || after.State != driver.StateRunning || after.Spec.Annotations["a"] != "b" {
		t.Errorf("info = %+v, was %+v", after, before)
	}
}

func TestStopStartKeepsTheStore(t *testing.T) {
	d := machines(t)
	m := create(t, d)
	a := configure(t, m)
	if _, err := a.AddEmptyDir(limit(t), &agentpb.AddEmptyDirRequest{Name: "data", Digest: "d"}); err != nil {
		t.Fatal(err)
	}
	if err := m.Stop(limit(t)); err != nil {
		t.Fatal(err)
	}
	if i := info(t, m); i.State != driver.StateStopped || !strings.HasPrefix(i.Message, "stopped at") {
		t.Errorf("info = %+v", i)
	}
	if _, err := a.Describe(limit(t), &agentpb.DescribeRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("describe of a stopped machine: %v", err)
	}
	if err := m.AttachDisk(limit(t), driver.Disk{ID: "i1", Path: "/x"}); !errors.Is(err, driver.ErrNotRunning) {
		t.Errorf("attach to a stopped machine: %v", err)
	}
	if err := m.Start(limit(t)); err != nil {
		t.Fatal(err)
	}
	a = configure(t, m)
	s, err := a.Describe(limit(t), &agentpb.DescribeRequest{})
	if err != nil || len(s.GetEmptyDirs()) != 1 {
		t.Errorf("state = %v, %v", s, err)
	}
}

func TestKilledShimIsSeenDead(t *testing.T) {
	d := machines(t)
	m := create(t, d)
	if err := syscall.Kill(info(t, m).HolderPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return info(t, m).State == driver.StateStopped })
	if i := info(t, m); !strings.Contains(i.Message, "left no word") {
		t.Errorf("message = %q", i.Message)
	}
	if err := m.Start(limit(t)); err != nil {
		t.Fatal(err)
	}
	if i := info(t, m); i.State != driver.StateRunning {
		t.Errorf("info = %+v", i)
	}
}

func TestHungShimIsUnknownAndCanBeDeleted(t *testing.T) {
	d := machines(t)
	m := create(t, d)
	pid := info(t, m).HolderPID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return info(t, m).State == driver.StateUnknown })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := m.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return syscall.Kill(pid, 0) != nil })
	if _, err := m.Info(limit(t)); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("info of a deleted machine: %v", err)
	}
}

func TestTermStopsInOrder(t *testing.T) {
	d := machines(t)
	m := create(t, d)
	run(t, configure(t, m), "main", "sleep", "infinity")
	pid := info(t, m).HolderPID
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if i := info(t, m); i.State != driver.StateRunning {
		t.Fatalf("after SIGHUP: %+v", i)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return info(t, m).State == driver.StateStopped })
	if i := info(t, m); !strings.HasPrefix(i.Message, "stopped at") {
		t.Errorf("message = %q", i.Message)
	}
}

func TestFailedBootLeavesNothing(t *testing.T) {
	tests := []struct{ name, faults, want string }{
		{"error", "Start=error(no such kernel)", "no such kernel"},
		{"transient for ever", "Start=transient(busy)", "busy"},
		{"panic of the guest", "SetTime=panic(oops)", "oops"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := shortDir(t)
			d := driverIn(t, dir, "--faults", tt.faults)
			if _, err := d.Create(limit(t), newSpec()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("create: %v, want %q", err, tt.want)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
				t.Errorf("left: %v, %v", entries, err)
			}
		})
	}
}

func TestCreateGivesUpWithItsContext(t *testing.T) {
	dir := shortDir(t)
	d := driverIn(t, dir, "--faults", "Link=hang")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := d.Create(ctx, newSpec()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("create: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestLongStateDirectory(t *testing.T) {
	create(t, driverIn(t, filepath.Join(t.TempDir(), strings.Repeat("x", 90))))
}

func TestCreateRefusesBeforeBoot(t *testing.T) {
	for name, change := range map[string]func(*driver.Spec){
		"id": func(s *driver.Spec) { s.ID = "../x" }, "store": func(s *driver.Spec) { s.StoreBytes = 0 },
	} {
		spec := newSpec()
		change(&spec)
		if _, err := machines(t).Create(limit(t), spec); err == nil {
			t.Errorf("%s: created", name)
		}
	}
}

func TestUnreadableSpecIsUnknown(t *testing.T) {
	dir := shortDir(t)
	d := driverIn(t, dir)
	m := create(t, d)
	path := filepath.Join(dir, m.ID(), "machine.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The shim knows who it is.
	if i := info(t, m); i.State != driver.StateRunning || i.Spec.Name != "default/web" {
		t.Errorf("info while it runs = %+v", i)
	}
	if err := m.Stop(limit(t)); err != nil {
		t.Fatal(err)
	}
	if i := info(t, m); i.State != driver.StateUnknown || !strings.Contains(i.Message, "machine.json") {
		t.Errorf("info = %+v", i)
	}
}

func TestStartsOfTwoProcesses(t *testing.T) {
	dir := shortDir(t)
	first, second := driverIn(t, dir), driverIn(t, dir)
	m := create(t, first)
	if err := m.Stop(limit(t)); err != nil {
		t.Fatal(err)
	}
	all, err := second.Machines(limit(t))
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	errs := make(chan error, 2)
	for _, m := range []driver.Machine{m, all[0]} {
		go func() { errs <- m.Start(limit(t)) }()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if a, b := info(t, m), info(t, all[0]); a.HolderPID != b.HolderPID || a.State != driver.StateRunning {
		t.Errorf("two holders? %+v %+v", a, b)
	}
}

// eventually waits for a state of another process.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("it never came to be")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// shortDir is a directory whose sockets have short paths.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "m")
}
