package qemu

import (
	"context"
	"hash/fnv"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/link"
)

// cacheDir keeps what was found out about the host for all tests.
var cacheDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "qemu-test")
	if err != nil {
		panic(err)
	}
	cacheDir = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// bundle returns the guest to boot; the test is skipped where there is none, unless
// the caller said that there must be.
func bundle(t testing.TB) driver.Guest {
	t.Helper()
	dir := os.Getenv("FIRKIN_GUEST")
	if dir == "" {
		dir, _ = filepath.Abs(filepath.Join("..", "..", "build", "guest", runtime.GOARCH))
	}
	problem := ""
	if _, err := os.Stat(filepath.Join(dir, "manifest.json")); err != nil {
		problem = "no guest bundle: run make guest"
	} else if _, err := (Options{}).binary(runtime.GOARCH); err != nil {
		problem = err.Error()
	}
	if problem != "" && os.Getenv("FIRKIN_REQUIRE_VMS") != "" {
		t.Fatal(problem)
	}
	if problem != "" {
		t.Skip(problem)
	}
	return driver.Guest{Kernel: filepath.Join(dir, "vmlinux"), Initrd: filepath.Join(dir, "initrd.img")}
}

const testID = "3d9f9a52-7e1c-4c43-9df5-5b51a1f4a001"

// boot starts a machine that boots.
func boot(t *testing.T) *vm {
	t.Helper()
	spec := driver.Spec{ID: testID, CPUs: 1, MemoryBytes: 256 << 20, Guest: bundle(t)}
	return start(t, New(Options{CacheDir: cacheDir, Log: testr.New(t)}), spec)
}

// start starts a machine with a store of 64 MiB, which ends with the test.
func start(t testing.TB, vmm *VMM, spec driver.Spec) *vm {
	t.Helper()
	return startIn(t, vmm, spec, withStore(t))
}

// withStore returns a machine's directory with a store.
func withStore(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", filepath.Join(dir, storeFile), "64M").CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	return dir
}

func startIn(t testing.TB, vmm *VMM, spec driver.Spec, dir string) *vm {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	m, err := vmm.Start(ctx, spec, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Kill(); err != nil {
			t.Error(err)
		}
		<-m.Done()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "console.log"))
			t.Logf("console:\n%s", log)
		}
	})
	return m.(*vm)
}

// agent opens a session and returns the agent's client.
func agent(t testing.TB, v *vm, token byte) agentpb.AgentClient {
	t.Helper()
	return agentOn(t, v.Link, token)
}

// agentOn is agent of what a connection leads to.
func agentOn(t testing.TB, dial func(context.Context) (net.Conn, error), token byte) agentpb.AgentClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	conn, err := dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	session, err := link.Open(ctx, conn, link.Hello{Token: [16]byte{token}, MachineID: testID})
	if err != nil {
		t.Fatal(err)
	}
	client, err := grpc.NewClient("passthrough:///guest",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return session.Dial(ctx, link.AgentPort)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		session.Close()
	})
	return agentpb.NewAgentClient(client)
}

func TestMachineBootsConfinedAndAnswers(t *testing.T) {
	start := time.Now()
	v := boot(t)
	client := agent(t, v, 1)
	state, err := client.Describe(t.Context(), &agentpb.DescribeRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("agent %s answered %s after the start, under %s", state.GetAgentVersion(), time.Since(start).Round(time.Millisecond), v.Accelerator())
	checkConfined(t, v.PID())

	// A second session ends the first; the token of the first is demanded.
	state, err = agent(t, v, 1).Describe(t.Context(), &agentpb.DescribeRequest{}, grpc.WaitForReady(true))
	if err != nil || state.GetBootId() == "" {
		t.Errorf("second session: %v, %v", state, err)
	}

	// Disks come and go.
	disk := driver.Disk{ID: "i0123456789abcdef012", Path: filepath.Join(t.TempDir(), "disk"), ReadOnly: true}
	if err := os.WriteFile(disk.Path, make([]byte, 1<<20), 0o444); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := v.AttachDisk(t.Context(), disk); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := v.DetachDisk(t.Context(), disk.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.AttachDisk(t.Context(), disk); err != nil {
		t.Errorf("attach again: %v", err)
	}
}

// checkConfined reads from /proc what QEMU may do: nothing.
func checkConfined(t *testing.T, pid int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	status := string(b)
	want := []string{"NoNewPrivs:\t1", "Seccomp:\t2"}
	if os.Geteuid() == 0 {
		none := ":\t0000000000000000"
		want = append(want, "CapEff"+none, "CapPrm"+none, "CapBnd"+none, "CapInh"+none, "Groups:\t \n", "Uid:\t"+itoa(freeUIDOf(testID)))
	}
	for _, w := range want {
		if !strings.Contains(status, w) {
			t.Errorf("qemu's status lacks %q:\n%s", w, status)
		}
	}
	threads, err := filepath.Glob(filepath.Join("/proc", itoa(pid), "task", "*", "status"))
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads %q, %v", threads, err)
	}
	for _, thread := range threads {
		// One that cannot be read has ended.
		if b, err := os.ReadFile(thread); err == nil && !strings.Contains(string(b), "Seccomp:\t2") {
			t.Errorf("%s has no filter", thread)
		}
	}
	limits, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "limits"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		words := strings.Fields(line)
		if n := len(words); strings.HasPrefix(line, "Max open files") && words[n-2] != itoa(maxOpenFiles) {
			t.Errorf("limits: %s", line)
		}
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

// freeUIDOf is the uid that a machine gets while no other has it.
func freeUIDOf(id string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return uidBase + int(h.Sum32())%uidCount
}

func TestBadGuestSaysWhy(t *testing.T) {
	guest := bundle(t)
	guest.Kernel = guest.Initrd
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, storeFile), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(Options{CacheDir: cacheDir, Log: testr.New(t)}).Start(t.Context(), driver.Spec{ID: testID, CPUs: 1, MemoryBytes: 256 << 20, Guest: guest}, dir, nil)
	if err == nil || !strings.Contains(err.Error(), "qemu") {
		t.Errorf("error %v", err)
	}
}
