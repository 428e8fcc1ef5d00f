package scale

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/desired"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// ledger is an Actual without machines: it notes what it is told to do and says that it is
// so, so that what is measured is the loop alone.
type ledger struct {
	mu   sync.Mutex
	pods []*schema.PodStatus // sorted, never changed once handed out
}

func (l *ledger) Pods(context.Context) (schema.ActualState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return schema.ActualState{Known: true, Pods: l.pods}, nil
}

func (l *ledger) Apply(_ context.Context, a reconcile.Action) (reconcile.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pods = slices.Clone(l.pods)
	i, ok := slices.BinarySearchFunc(l.pods, a.Pod, func(p *schema.PodStatus, ref schema.Ref) int { return p.Ref.Compare(ref) })
	if !ok {
		l.pods = slices.Insert(l.pods, i, nil)
	}
	l.pods[i] = runningAs(a.Spec)
	return reconcile.Result{}, nil
}

// runningAs is the status of a pod that is what its manifest says.
func runningAs(pod *schema.Pod) *schema.PodStatus {
	s := &schema.PodStatus{
		Ref: pod.Ref, Source: pod.Source, Machine: schema.MachineRunning, Configured: true, Spec: pod,
		VMDigest: pod.VMDigest(),
	}
	for i := range pod.Containers {
		c := &pod.Containers[i]
		s.Containers = append(s.Containers, schema.ContainerStatus{
			Name: c.Name, Digest: c.Digest(), Spec: c, State: schema.ContainerRunning, Started: true, Ready: true,
		})
	}
	return s
}

// BenchmarkLoop is one changed manifest among 10,000: from its write, less what manifests
// take to settle, to the first action on its pod. Run it once (-benchtime 1x).
func BenchmarkLoop(b *testing.B) {
	n := size(b, 10_000)
	f := &fleet{tb: b, dir: b.TempDir(), seen: newWatcher()}
	for i := range n {
		f.write(i, "first")
	}
	var err error
	if f.source, err = desired.New([]string{f.dir}, desired.Options{Settle: settle, Log: logr.Discard()}); err != nil {
		b.Fatal(err)
	}
	began, used := time.Now(), cpu(b)
	state, err := f.source.Pods(b.Context())
	if err != nil || len(state.Pods) != n {
		b.Fatalf("%d pods, %v", len(state.Pods), err)
	}
	b.ReportMetric(time.Since(began).Seconds(), "first-read-s")
	b.ReportMetric((cpu(b) - used).Seconds(), "first-read-cpu-s")
	still := &ledger{}
	for _, p := range state.Pods {
		still.pods = append(still.pods, runningAs(p))
	}
	f.loop = reconcile.NewLoop(f.source, still, reconcile.Options{Observer: f.seen, Log: logr.Discard()})
	ctx, cancel := context.WithCancel(b.Context())
	var g sync.WaitGroup
	for _, run := range []func() error{
		func() error { return f.source.Run(ctx, f.loop.Wake) },
		func() error { return f.loop.Run(ctx) },
	} {
		g.Go(func() {
			if err := run(); err != nil {
				b.Error(err)
			}
		})
	}
	defer g.Wait()
	defer cancel()
	f.seen.rest(b)
	// The first watch has everything read once more.
	time.Sleep(10 * settle)
	f.measure(b, n)
	reportRest(b)
}
