package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// firstPID is the first process id that a simulated guest gives.
const firstPID = 100

// runtime is a simulated guest's container runtime.
type runtime struct {
	boot   string
	store  *store
	faults *Faults
	disks  *disks
	shares []driver.Share
	media  *media
	net    *network
	off    func(error)   // ends the machine
	gone   chan struct{} // closed when the machine has ended: nothing of it reaches the store

	mu         sync.Mutex
	volumes    map[string]directory // that are no emptyDirs
	containers map[string]*container
	pid        int
	ended      bool // nothing is started any more
	wg         sync.WaitGroup
}

// container is what is needed of its spec: there may be thousands.
type container struct {
	argv     []string
	mounts   []*agentpb.Mount
	message  string // where it may leave a termination message
	readOnly bool
	procs    map[*process]struct{}
	files    memory // its own, outside of volumes
}

var _ agent.Runtime = (*runtime)(nil)

// meet does what a fault says, to this machine.
func (r *runtime) meet(ctx context.Context, op string) error {
	select {
	case <-r.gone:
		return errEnded
	default:
	}
	err := r.faults.meetUntil(ctx, r.gone, op)
	if errors.Is(err, errDie) {
		go r.off(err)
	}
	return err
}

func (r *runtime) BootID() string { return r.boot }

func (r *runtime) OpenStore(ctx context.Context, _ *agentpb.ConfigureRequest) error {
	return r.meet(ctx, "OpenStore")
}

func (r *runtime) LoadState(ctx context.Context) ([]byte, error) {
	if err := r.meet(ctx, "LoadState"); err != nil {
		return nil, err
	}
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	return bytes.Clone(r.store.data.Blob), nil
}

func (r *runtime) SaveState(ctx context.Context, data []byte) error {
	if err := r.meet(ctx, "SaveState"); err != nil {
		return err
	}
	return r.store.change(func(d *storeData) error {
		d.Blob = bytes.Clone(data)
		return nil
	})
}

func (r *runtime) StoreUsage(ctx context.Context) (*agentpb.StoreUsage, error) {
	if err := r.meet(ctx, "StoreUsage"); err != nil {
		return nil, err
	}
	return r.store.usage(), nil
}

func (r *runtime) Trim(ctx context.Context) (uint64, error) {
	if err := r.meet(ctx, "Trim"); err != nil {
		return 0, err
	}
	return r.store.trim()
}

func (r *runtime) CloseStore(ctx context.Context) error { return r.meet(ctx, "CloseStore") }

func (r *runtime) CreateEmptyDir(ctx context.Context, dir *agentpb.AddEmptyDirRequest) error {
	if err := r.meet(ctx, "CreateEmptyDir"); err != nil {
		return err
	}
	return r.store.change(func(d *storeData) error {
		if d.Volumes[dir.GetName()] == nil {
			d.Volumes[dir.GetName()] = &volume{Memory: dir.GetMemory(), Limit: dir.GetSizeLimitBytes()}
		}
		return nil
	})
}

func (r *runtime) RemoveEmptyDir(ctx context.Context, name string) error {
	if err := r.meet(ctx, "RemoveEmptyDir"); err != nil {
		return err
	}
	return r.store.change(func(d *storeData) error {
		delete(d.Volumes, name)
		return nil
	})
}

func (r *runtime) EmptyDirUsage(ctx context.Context, name string) (int64, error) {
	if err := r.meet(ctx, "EmptyDirUsage"); err != nil {
		return 0, err
	}
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	v := r.store.data.Volumes[name]
	if v == nil {
		return 0, fmt.Errorf("emptyDir %s: %w", name, agent.ErrNotFound)
	}
	return v.bytes(), nil
}

func (r *runtime) CreateFile(ctx context.Context, emptyDir, path string) (agent.AtomicFile, error) {
	if err := r.meet(ctx, "CreateFile"); err != nil {
		return nil, err
	}
	return &atomicFile{store: r.store, volume: emptyDir, path: path}, nil
}

func (r *runtime) OpenFile(ctx context.Context, emptyDir, path string) (io.ReadCloser, error) {
	if err := r.meet(ctx, "OpenFile"); err != nil {
		return nil, err
	}
	data, err := r.store.read(emptyDir, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %s: %w", path, agent.ErrNotFound)
	} else if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// atomicFile appears in its volume when committed.
type atomicFile struct {
	store        *store
	volume, path string
	buf          bytes.Buffer
}

func (f *atomicFile) Write(p []byte) (int, error) { return f.buf.Write(p) }
func (f *atomicFile) Close() error                { return nil }
func (f *atomicFile) Commit() error {
	if err := f.store.write(f.volume, f.path, f.buf.Bytes(), 0); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return nil
}

func (r *runtime) Prepare(ctx context.Context, id string, spec *agentpb.ContainerSpec) error {
	if err := r.meet(ctx, "Prepare"); err != nil {
		return err
	}
	image := spec.GetRootfsPath()
	if disk := spec.GetRootfsDisk(); disk != "" {
		if _, ok := r.disks.get(disk); !ok && !r.store.hasImage(disk) {
			return fmt.Errorf("disk %s: %w", disk, agent.ErrNotFound)
		}
		image = disk
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.containers[id] != nil {
		return fmt.Errorf("container %s is prepared already", id)
	}
	if err := r.store.change(func(d *storeData) error {
		d.Containers[id] = image
		return nil
	}); err != nil {
		return err
	}
	r.containers[id] = &container{
		argv: spec.GetArgv(), mounts: spec.GetMounts(), message: spec.GetTerminationMessagePath(),
		readOnly: spec.GetSecurity().GetReadOnlyRoot(), procs: make(map[*process]struct{}),
	}
	return nil
}

func (r *runtime) Start(ctx context.Context, id string, stdout, stderr io.Writer) (agent.Process, error) {
	if err := r.meet(ctx, "StartContainer"); err != nil {
		return nil, err
	}
	c := r.container(id)
	if c == nil {
		return nil, fmt.Errorf("container %s: %w", id, agent.ErrNotFound)
	}
	p := r.run(c, c.argv, agent.ExecIO{Stdout: stdout, Stderr: stderr})
	p.main = true
	return p, nil
}

func (r *runtime) Exec(ctx context.Context, id string, spec *agentpb.ExecRequest_Start, stdio agent.ExecIO) (agent.ExecProcess, error) {
	if err := r.meet(ctx, "Exec"); err != nil {
		return nil, err
	}
	c := r.container(id)
	if c == nil {
		return nil, fmt.Errorf("container %s: %w", id, agent.ErrNotFound)
	}
	return r.run(c, spec.GetArgv(), stdio), nil
}

func (r *runtime) container(id string) *container {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.containers[id]
}

// run starts a process in a container.
func (r *runtime) run(c *container, argv []string, stdio agent.ExecIO) *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pid++
	p := newProcess(r, c, firstPID+r.pid)
	if r.ended {
		p.end(137)
		return p
	}
	c.procs[p] = struct{}{}
	r.wg.Add(1)
	if idle(argv) {
		return p // over is called when it is interrupted
	}
	p.ctx, p.stop = context.WithCancelCause(context.Background())
	go func() { r.over(p, interpret(p.ctx, &shell{rt: r, c: c, stdio: stdio, process: p}, argv)) }()
	return p
}

// over notes that a process has ended.
func (r *runtime) over(p *process, code int) {
	defer r.wg.Done()
	r.net.leave(p)
	r.mu.Lock()
	delete(p.c.procs, p)
	r.mu.Unlock()
	p.end(code)
}

func (r *runtime) Clean(ctx context.Context, id string) error {
	if err := r.meet(ctx, "Clean"); err != nil {
		return err
	}
	return r.clean(id)
}

func (r *runtime) clean(id string) error {
	r.mu.Lock()
	c := r.containers[id]
	delete(r.containers, id)
	r.mu.Unlock()
	if c != nil {
		r.killAll(c)
	}
	return r.store.change(func(d *storeData) error {
		delete(d.Containers, id)
		return nil
	})
}

func (r *runtime) CleanAll(ctx context.Context) error {
	if err := r.meet(ctx, "CleanAll"); err != nil {
		return err
	}
	r.store.mu.Lock()
	var ids []string
	for id := range r.store.data.Containers {
		ids = append(ids, id)
	}
	r.store.mu.Unlock()
	for _, id := range ids {
		if err := r.clean(id); err != nil {
			return err
		}
	}
	return nil
}

func (r *runtime) SetTime(time.Time) error { return r.meet(context.Background(), "SetTime") }

func (r *runtime) PowerOff() error {
	if err := r.meet(context.Background(), "PowerOff"); err != nil {
		return err
	}
	r.off(nil)
	return nil
}

// killAll ends all processes of a container.
func (r *runtime) killAll(c *container) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range c.procs {
		p.interrupt(137)
	}
}

// end kills everything and waits for it.
func (r *runtime) end() {
	r.mu.Lock()
	r.ended = true
	var all []*container
	for _, c := range r.containers {
		all = append(all, c)
	}
	r.mu.Unlock()
	for _, c := range all {
		r.killAll(c)
	}
	r.wg.Wait()
	r.net.close()
}
