package actual

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/sim"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestMain lets the test binary be the shim process of machines it makes.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "shim" {
		syscall.Exit(shimMain(os.Args[2:])) // not os.Exit, which sleeps under the race detector
	}
	goleak.VerifyTestMain(m)
}

// pods is an Observer over simulated machines that can be tampered with.
type pods struct {
	*Observer
	t      testing.TB
	world  *sim.World
	faults *sim.Faults
	driver *tampered
	images *fakeImages
}

// inBubble runs a test over a new world, in fake time.
func inBubble(t *testing.T, dir string, test func(t *testing.T, p *pods)) {
	t.Helper()
	inBubbleOf(t, sim.Options{}, Options{FailureDir: dir}, test)
}

// inBubbleOf is inBubble with machines and an Observer of a certain kind.
func inBubbleOf(t *testing.T, machines sim.Options, opt Options, test func(t *testing.T, p *pods)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		faults, err := sim.ParseFaults("")
		if err != nil {
			t.Fatal(err)
		}
		machines.Faults, machines.Log = faults, logr.Discard()
		w := sim.NewWorld(machines)
		p := &pods{t: t, world: w, faults: faults, images: &fakeImages{dir: "/t"}}
		p.driver = &tampered{Driver: sim.NewDriver(w), agents: make(map[string]grpc.ClientConnInterface)}
		p.Observer = New(p.driver, p.images, opt)
		defer func() {
			if err := errors.Join(p.driver.Close(), w.Close()); err != nil {
				t.Error(err)
			}
		}()
		test(t, p)
	})
}

// another is an Observer that knows nothing yet, as after a restart.
func (p *pods) another(opt Options) *pods {
	q := *p
	opt.Log = logr.Discard()
	q.Observer = New(p.driver, p.images, opt)
	return &q
}

func (p *pods) do(typ reconcile.ActionType, kind reconcile.Kind, name string, pod *schema.Pod) (reconcile.Result, error) {
	return p.Apply(p.t.Context(), reconcile.Action{Type: typ, Kind: kind, Pod: pod.Ref, Name: name, Spec: pod, Grace: 5 * time.Second})
}

func (p *pods) must(typ reconcile.ActionType, kind reconcile.Kind, name string, pod *schema.Pod) reconcile.Result {
	p.t.Helper()
	r, err := p.do(typ, kind, name, pod)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// up adds the pod with its emptyDirs and containers.
func (p *pods) up(pod *schema.Pod) {
	p.t.Helper()
	p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
	for _, e := range pod.EmptyDirs {
		p.must(reconcile.Add, reconcile.KindEmptyDir, e.Name, pod)
	}
	for _, c := range pod.Containers {
		p.must(reconcile.Add, reconcile.KindContainer, c.Name, pod)
	}
}

func (p *pods) all() []*schema.PodStatus {
	p.t.Helper()
	s, err := p.Pods(p.t.Context())
	if err != nil || !s.Known {
		p.t.Fatalf("pods: known %v, %v", s.Known, err)
	}
	return s.Pods
}

// status is what is known of a pod, the zero status when it is not there.
func (p *pods) status(ref schema.Ref) schema.PodStatus {
	p.t.Helper()
	for _, s := range p.all() {
		if s.Ref == ref {
			return *s
		}
	}
	return schema.PodStatus{}
}

func (p *pods) refresh() {
	p.t.Helper()
	if err := p.Refresh(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pods) kill(ref schema.Ref) {
	p.t.Helper()
	if err := p.world.Kill(p.status(ref).UID); err != nil {
		p.t.Fatal(err)
	}
}

// following runs Run until the returned function is called. wait returns once cond
// holds, looked at after every wake.
func (p *pods) following() (wait func(what string, cond func() bool), stop func()) {
	ctx, cancel := context.WithCancel(p.t.Context())
	wake := make(chan struct{}, 1)
	var g sync.WaitGroup
	g.Go(func() {
		if err := p.Run(ctx, func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		}); err != nil {
			p.t.Error(err)
		}
	})
	synctest.Wait()
	wait = func(what string, cond func() bool) {
		p.t.Helper()
		limit := time.NewTimer(10 * time.Minute) // of the bubble's time
		defer limit.Stop()
		for !cond() {
			select {
			case <-wake:
			case <-limit.C:
				p.t.Fatalf("it never came to be: %s; %+v", what, p.all())
			}
		}
	}
	return wait, func() { cancel(); g.Wait() }
}

func newPod(name string, argv ...string) *schema.Pod {
	return &schema.Pod{
		Ref: schema.Ref{Namespace: "default", Name: name}, RestartPolicy: schema.RestartAlways, GraceSeconds: 5,
		Labels:    map[string]string{"app": name},
		EmptyDirs: []schema.EmptyDir{{Name: "data"}},
		Containers: []schema.Container{{
			Name: "main", Image: "guest:/", Command: argv,
			Mounts: []schema.VolumeMount{{Volume: "data", Path: "/data"}},
		}},
		VM:     schema.VM{CPUs: 1, MemoryBytes: 1 << 27, StoreBytes: 1 << 30},
		Source: "/pods", Origin: schema.Origin{File: "/pods/a.yaml", Line: 1},
	}
}

// fakeImages resolves every reference: a disk for "disk-...", else the guest's own root.
type fakeImages struct {
	mu   sync.Mutex
	err  error
	pull image.PullPolicy
	hang bool
	dir  string // of the disks, which need not be there
}

func (f *fakeImages) Ensure(ctx context.Context, ref, _ string, pull image.PullPolicy) (*image.Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pull = pull
	if f.hang {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if f.err != nil {
		return nil, f.err
	}
	if id, ok := strings.CutPrefix(ref, "disk-"); ok {
		return &image.Image{Ref: ref, Digest: "sha256:" + id, DiskID: id, TemplatePath: filepath.Join(f.dir, id)}, nil
	}
	return &image.Image{Ref: ref, GuestPath: "/"}, nil
}

// tampered is a driver some of whose machines do not behave, chosen by their pod's name.
type tampered struct {
	driver.Driver

	mu       sync.Mutex
	agents   map[string]grpc.ClientConnInterface
	listErr  error
	listHang bool
	mangle   func(*driver.Info)
	log      []string // disks attached and detached, stops, deletes
	listed   func()   // called after a list was made
	startErr error    // what a start returns that had effect
}

func (d *tampered) Create(ctx context.Context, spec driver.Spec) (driver.Machine, error) {
	m, err := d.Driver.Create(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &tamperedMachine{Machine: m, d: d}, nil
}

func (d *tampered) Machines(ctx context.Context) ([]driver.Machine, error) {
	d.mu.Lock()
	err, hang, listed := d.listErr, d.listHang, d.listed
	d.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	all, err := d.Driver.Machines(ctx)
	for i, m := range all {
		all[i] = &tamperedMachine{Machine: m, d: d}
	}
	if listed != nil {
		listed()
	}
	return all, err
}

func (m *tamperedMachine) Start(ctx context.Context) error {
	if err := m.Machine.Start(ctx); err != nil {
		return err
	}
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	return m.d.startErr
}

func (d *tampered) set(pod string, agent grpc.ClientConnInterface) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.agents[pod] = agent
}

func (d *tampered) note(words ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, strings.Join(words, " "))
}

func (d *tampered) took() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	log := slices.Clone(d.log)
	d.log = nil
	return log
}

type tamperedMachine struct {
	driver.Machine
	d *tampered
}

func (m *tamperedMachine) Info(ctx context.Context) (driver.Info, error) {
	info, err := m.Machine.Info(ctx)
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if m.d.mangle != nil {
		m.d.mangle(&info)
	}
	return info, err
}

func (m *tamperedMachine) Agent() grpc.ClientConnInterface {
	info, err := m.Machine.Info(context.Background())
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if agent := m.d.agents[strings.TrimPrefix(info.Spec.Name, "default/")]; err == nil && agent != nil {
		return agent
	}
	return m.Machine.Agent()
}

func (m *tamperedMachine) AttachDisk(ctx context.Context, d driver.Disk) error {
	m.d.note("attach", d.ID)
	return m.Machine.AttachDisk(ctx, d)
}

func (m *tamperedMachine) DetachDisk(ctx context.Context, id string) error {
	m.d.note("detach", id)
	return m.Machine.DetachDisk(ctx, id)
}

func (m *tamperedMachine) Delete(ctx context.Context) error {
	m.d.note("delete")
	return m.Machine.Delete(ctx)
}

// hung is an agent that never answers.
type hung struct{}

func (hung) Invoke(ctx context.Context, _ string, _, _ any, _ ...grpc.CallOption) error {
	<-ctx.Done()
	return status.FromContextError(ctx.Err()).Err()
}

func (hung) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	<-ctx.Done()
	return nil, status.FromContextError(ctx.Err()).Err()
}

// liar is an agent that says whatever it likes of its state.
type liar struct{ says *agentpb.PodState }

func (l liar) Invoke(_ context.Context, method string, _, reply any, _ ...grpc.CallOption) error {
	if method == agentpb.Agent_Describe_FullMethodName {
		proto.Merge(reply.(proto.Message), l.says)
		return nil
	}
	return status.Error(codes.Unavailable, "no")
}

func (liar) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unavailable, "no")
}
