package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
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

var errInjected = errors.New("injected")

// disk is what outlives a boot.
type disk struct {
	mu    sync.Mutex
	state []byte
	dirs  map[string]bool // disk emptyDirs
}

// fakeRuntime runs processes that end when a test says so.
type fakeRuntime struct {
	boot string
	disk *disk

	mu       sync.Mutex
	calls    []string
	fail     map[string]error        // by method
	gates    map[string]*gate        // by method
	procs    map[string]*fakeProcess // by container id
	prepared map[string]bool
	starting int
	overlap  bool // two starts at a time were seen
	files    map[string][]byte
	off      chan struct{}
	execs    chan *fakeProcess
	deafTERM bool
}

func newFakeRuntime(boot string, d *disk) *fakeRuntime {
	return &fakeRuntime{
		boot: boot, disk: d,
		fail: map[string]error{}, gates: map[string]*gate{},
		procs: map[string]*fakeProcess{}, prepared: map[string]bool{},
		files: map[string][]byte{}, off: make(chan struct{}),
		execs: make(chan *fakeProcess, 16),
	}
}

// step records a call, holds it while it is to block, and fails it if it is to fail.
func (r *fakeRuntime) step(ctx context.Context, method, arg string) error {
	r.mu.Lock()
	r.calls = append(r.calls, strings.TrimSpace(method+" "+arg))
	g := r.gates[method]
	r.mu.Unlock()
	if g != nil {
		g.once.Do(func() { close(g.reached) })
		select {
		case <-g.open:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fail[method]
}

func (r *fakeRuntime) setFail(method string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail[method] = err
}

// gate holds up calls of a method.
type gate struct {
	// reached is closed when a call has come.
	reached chan struct{}
	open    chan struct{}
	once    sync.Once
	// release lets all calls through.
	release func()
}

// hold makes calls of method block until the gate is released.
func (r *fakeRuntime) hold(method string) *gate {
	g := &gate{reached: make(chan struct{}), open: make(chan struct{})}
	g.release = sync.OnceFunc(func() {
		r.mu.Lock()
		delete(r.gates, method)
		r.mu.Unlock()
		close(g.open)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gates[method] = g
	return g
}

func (r *fakeRuntime) count(prefix string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, c := range r.calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

func (r *fakeRuntime) proc(id string) *fakeProcess {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.procs[id]
}

func (r *fakeRuntime) BootID() string { return r.boot }
func (r *fakeRuntime) OpenStore(ctx context.Context, req *agentpb.ConfigureRequest) error {
	return r.step(ctx, "OpenStore", req.GetHostname())
}
func (r *fakeRuntime) AddVolume(ctx context.Context, req *agentpb.AddVolumeRequest) error {
	return r.step(ctx, "AddVolume", req.GetName())
}
func (r *fakeRuntime) RemoveVolume(ctx context.Context, name string) error {
	return r.step(ctx, "RemoveVolume", name)
}
func (r *fakeRuntime) TerminationMessage(ctx context.Context, id string) ([]byte, error) {
	return nil, r.step(ctx, "TerminationMessage", id)
}
func (r *fakeRuntime) LoadState(ctx context.Context) ([]byte, error) {
	err := r.step(ctx, "LoadState", "")
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	return bytes.Clone(r.disk.state), err
}
func (r *fakeRuntime) SaveState(ctx context.Context, data []byte) error {
	if err := r.step(ctx, "SaveState", ""); err != nil {
		return err
	}
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	r.disk.state = bytes.Clone(data)
	return nil
}
func (r *fakeRuntime) StoreUsage(ctx context.Context) (*agentpb.StoreUsage, error) {
	return &agentpb.StoreUsage{SizeBytes: 1000, UsedBytes: 10}, r.step(ctx, "StoreUsage", "")
}
func (r *fakeRuntime) Trim(ctx context.Context) (uint64, error) { return 77, r.step(ctx, "Trim", "") }
func (r *fakeRuntime) CloseStore(ctx context.Context) error {
	return r.step(ctx, "CloseStore", "")
}
func (r *fakeRuntime) CreateEmptyDir(ctx context.Context, d *agentpb.AddEmptyDirRequest) error {
	if err := r.step(ctx, "CreateEmptyDir", d.GetName()); err != nil {
		return err
	}
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	r.disk.dirs[d.GetName()] = true
	return nil
}
func (r *fakeRuntime) RemoveEmptyDir(ctx context.Context, name string) error {
	if err := r.step(ctx, "RemoveEmptyDir", name); err != nil {
		return err
	}
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	delete(r.disk.dirs, name)
	return nil
}
func (r *fakeRuntime) EmptyDirUsage(ctx context.Context, name string) (int64, error) {
	return 5, r.step(ctx, "EmptyDirUsage", name)
}
func (r *fakeRuntime) CreateFile(ctx context.Context, dir, path string) (AtomicFile, error) {
	return &fakeFile{rt: r, name: dir + ":" + path}, r.step(ctx, "CreateFile", path)
}
func (r *fakeRuntime) OpenFile(ctx context.Context, dir, path string) (io.ReadCloser, error) {
	r.mu.Lock()
	data, ok := r.files[dir+":"+path]
	r.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("open %s: %w", path, ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}
func (r *fakeRuntime) Prepare(ctx context.Context, id string, _ *agentpb.ContainerSpec) error {
	if err := r.step(ctx, "Prepare", id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prepared[id] = true
	return nil
}
func (r *fakeRuntime) Start(ctx context.Context, id string, stdout, stderr io.Writer) (Process, error) {
	r.mu.Lock()
	r.starting++
	r.overlap = r.overlap || r.starting > 1
	r.mu.Unlock()
	err := r.step(ctx, "Start", id)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starting--
	if err != nil {
		return nil, err
	}
	p := newFakeProcess(stdout, stderr)
	p.deafTERM = r.deafTERM
	r.procs[id] = p
	return p, nil
}
func (r *fakeRuntime) Exec(ctx context.Context, id string, spec *agentpb.ExecRequest_Start, stdio ExecIO) (ExecProcess, error) {
	if err := r.step(ctx, "Exec", id); err != nil {
		return nil, err
	}
	p := newFakeProcess(stdio.Stdout, stdio.Stderr)
	r.execs <- p
	if stdio.Stdin != nil {
		go func() { // cat
			_, _ = io.Copy(stdio.Stdout, stdio.Stdin)
			p.end(Exit{})
		}()
	}
	return p, nil
}
func (r *fakeRuntime) Clean(ctx context.Context, id string) error {
	if err := r.step(ctx, "Clean", id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.prepared, id)
	return nil
}
func (r *fakeRuntime) CleanAll(ctx context.Context) error { return r.step(ctx, "CleanAll", "") }
func (r *fakeRuntime) SetTime(t time.Time) error {
	return r.step(context.Background(), "SetTime", t.UTC().Format(time.RFC3339))
}
func (r *fakeRuntime) PowerOff() error {
	close(r.off)
	return nil
}

type fakeFile struct {
	rt   *fakeRuntime
	name string
	buf  bytes.Buffer
}

func (f *fakeFile) Write(p []byte) (int, error) { return f.buf.Write(p) }
func (f *fakeFile) Close() error                { return nil }
func (f *fakeFile) Commit() error {
	f.rt.mu.Lock()
	defer f.rt.mu.Unlock()
	f.rt.files[f.name] = f.buf.Bytes()
	return nil
}

type fakeProcess struct {
	stdout, stderr io.Writer
	done           chan struct{}
	once           sync.Once
	exit           Exit
	deafTERM       bool

	mu      sync.Mutex
	signals []syscall.Signal
	rows    uint32
}

func newFakeProcess(stdout, stderr io.Writer) *fakeProcess {
	return &fakeProcess{stdout: stdout, stderr: stderr, done: make(chan struct{})}
}

func (p *fakeProcess) end(e Exit) {
	p.once.Do(func() {
		e.At = time.Now()
		p.exit = e
		close(p.done)
	})
}
func (p *fakeProcess) PID() int { return 42 }
func (p *fakeProcess) Signal(s syscall.Signal) error {
	p.mu.Lock()
	p.signals = append(p.signals, s)
	p.mu.Unlock()
	if s == syscall.SIGTERM && !p.deafTERM {
		p.end(Exit{Code: 143})
	}
	return nil
}
func (p *fakeProcess) Kill() error           { p.end(Exit{Code: 137}); return nil }
func (p *fakeProcess) Done() <-chan struct{} { return p.done }
func (p *fakeProcess) Exit() Exit            { return p.exit }
func (p *fakeProcess) Resize(rows, _ uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rows = rows
	return nil
}

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
	a := New(rt, Options{Version: "test", Log: logr.Discard()})
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

func (p *pod) add(t testing.TB, name, digest string) *agentpb.AddContainerResponse {
	t.Helper()
	r, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: spec(name, digest)})
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
