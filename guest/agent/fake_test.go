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
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

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
	volumes  map[string]*agentpb.AddVolumeRequest
	// onExec, when set, says how commands end; one that it gives nil for runs until it is killed.
	onExec func(argv []string) *fakeExec
	// said are the termination messages, by container id.
	said map[string]string
}

// fakeExec is how a command ends.
type fakeExec struct {
	code   int
	output string
}

func newFakeRuntime(boot string, d *disk) *fakeRuntime {
	return &fakeRuntime{
		boot: boot, disk: d,
		fail: map[string]error{}, gates: map[string]*gate{},
		procs: map[string]*fakeProcess{}, prepared: map[string]bool{},
		files: map[string][]byte{}, off: make(chan struct{}),
		execs: make(chan *fakeProcess, 16), volumes: map[string]*agentpb.AddVolumeRequest{}, said: map[string]string{},
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
	if err := r.step(ctx, "AddVolume", req.GetName()); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.volumes[req.GetName()] = req
	return nil
}
func (r *fakeRuntime) RemoveVolume(ctx context.Context, name string) error {
	if err := r.step(ctx, "RemoveVolume", name); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.volumes, name)
	return nil
}
func (r *fakeRuntime) TerminationMessage(ctx context.Context, id string) ([]byte, error) {
	if err := r.step(ctx, "TerminationMessage", id); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return []byte(r.said[id]), nil
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
	r.mu.Lock()
	onExec := r.onExec
	r.mu.Unlock()
	if onExec != nil {
		if e := onExec(spec.GetArgv()); e != nil {
			_, _ = io.WriteString(stdio.Stdout, e.output)
			p.end(Exit{Code: e.code})
		}
		return p, nil
	}
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

	mu       sync.Mutex
	signals  []syscall.Signal
	deafKILL bool
	rows     uint32
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
func (p *fakeProcess) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.deafKILL {
		p.end(Exit{Code: 137})
	}
	return nil
}
func (p *fakeProcess) Done() <-chan struct{} { return p.done }
func (p *fakeProcess) Exit() Exit            { return p.exit }
func (p *fakeProcess) Resize(rows, _ uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rows = rows
	return nil
}

// dial reaches the servers of a test by their ports.
func (r *fakeRuntime) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := r.step(ctx, "Dial", address); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
}
