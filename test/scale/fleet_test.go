package scale

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"github.com/firkin-dev/firkin-reconcile/actual"
	"github.com/firkin-dev/firkin-reconcile/desired"
	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/sim"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/internal/memory"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sizeVariable sets the number of pods; benchmarks take 10,000 without it, tests far fewer.
const sizeVariable = "FIRKIN_SCALE_PODS"

func size(tb testing.TB, otherwise int) int {
	tb.Helper()
	text := os.Getenv(sizeVariable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		tb.Fatalf("%s=%q is no number of pods", sizeVariable, text)
	}
	return n
}

// settle is how long manifests have to stand unchanged.
const settle = 20 * time.Millisecond

// guestRoot resolves every image to the guest's own files, which simulated containers need
// no more than.
type guestRoot struct{}

func (guestRoot) Ensure(_ context.Context, ref, _ string, _ image.PullPolicy) (*image.Image, error) {
	return &image.Image{Ref: ref, GuestPath: "/"}, nil
}

// fleet is a loop that keeps simulated pods what a directory of manifests says.
type fleet struct {
	tb     testing.TB
	dir    string
	world  *sim.World
	actual *actual.Observer
	source *desired.Source
	loop   *reconcile.Loop
	seen   *watcher
	stop   func()
}

// newFleet writes so many manifests of two containers each; nothing runs yet.
func newFleet(tb testing.TB, pods int) *fleet {
	tb.Helper()
	f := &fleet{tb: tb, dir: tb.TempDir(), seen: newWatcher()}
	for i := range pods {
		f.write(i, "first")
	}
	faults, err := sim.ParseFaults("")
	if err != nil {
		tb.Fatal(err)
	}
	f.world = sim.NewWorld(sim.Options{Faults: faults, Log: logr.Discard()})
	var d driver.Driver = sim.NewDriver(f.world)
	f.actual = actual.New(d, guestRoot{}, actual.Options{Log: logr.Discard()})
	if f.source, err = desired.New([]string{f.dir}, desired.Options{Settle: settle, Log: logr.Discard()}); err != nil {
		tb.Fatal(err)
	}
	f.loop = reconcile.NewLoop(f.source, f.actual, reconcile.Options{Observer: f.seen, Log: logr.Discard()})
	tb.Cleanup(func() {
		if f.stop != nil {
			f.stop()
		}
		if err := errors.Join(d.Close(), f.world.Close()); err != nil {
			tb.Error(err)
		}
	})
	return f
}

func name(i int) string { return fmt.Sprintf("p%05d", i) }

func ref(i int) schema.Ref { return schema.Ref{Namespace: schema.DefaultNamespace, Name: name(i)} }

// write writes the manifest of one pod; another version replaces its first container.
func (f *fleet) write(i int, version string) {
	f.tb.Helper()
	text := fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: a, image: "web:1", command: [sleep, infinity], env: [{name: VERSION, value: %s}]}
  - {name: b, image: "log:1", command: [sleep, infinity]}
`, name(i), version)
	if err := os.WriteFile(filepath.Join(f.dir, name(i)+".yaml"), []byte(text), 0o644); err != nil {
		f.tb.Fatal(err)
	}
}

// run runs everything that the command of that name does until the benchmark ends, and returns
// once all pods are as desired.
func (f *fleet) run() {
	f.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var g sync.WaitGroup
	for _, run := range []func() error{
		func() error { return f.source.Run(ctx, f.loop.Wake) },
		func() error { return f.actual.Run(ctx, f.loop.Wake) },
		func() error { return f.loop.Run(ctx) },
	} {
		g.Go(func() {
			if err := run(); err != nil {
				f.tb.Error(err)
			}
		})
	}
	g.Go(func() { memory.Spare(ctx) })
	f.stop = func() {
		cancel()
		g.Wait()
	}
	f.seen.rest(f.tb)
}

// watcher is told what the loop does.
type watcher struct {
	mu      sync.Mutex
	awaited schema.Ref
	started chan time.Time // when the awaited pod's next action began
	looked  chan struct{}  // a look that found nothing to do
}

func newWatcher() *watcher {
	return &watcher{started: make(chan time.Time, 1), looked: make(chan struct{}, 1)}
}

func (w *watcher) ActionStarted(a reconcile.Action) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.Pod == w.awaited {
		w.awaited = schema.Ref{}
		w.started <- time.Now()
	}
}

func (w *watcher) ActionFinished(reconcile.Action, time.Duration, reconcile.Result, error) {}

func (w *watcher) Looked(want schema.DesiredState, seen schema.ActualState, plan reconcile.Plan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !plan.Empty() || len(seen.Pods) < len(want.Pods) || w.awaited != (schema.Ref{}) {
		return
	}
	select {
	case w.looked <- struct{}{}:
	default:
	}
}

// await has the next action on a pod told of on started; until then nothing counts as rest.
func (w *watcher) await(ref schema.Ref) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.awaited = ref
	select {
	case <-w.looked:
	default:
	}
}

// rest waits for a look that finds nothing to do.
func (w *watcher) rest(tb testing.TB) {
	tb.Helper()
	select {
	case <-w.looked:
	case <-time.After(10 * time.Minute):
		tb.Fatal("the pods do not converge")
	}
}
