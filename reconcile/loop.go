package reconcile

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Observer is told what the loop does. Its methods may be called from several
// goroutines and must not block.
type Observer interface {
	ActionStarted(a Action)
	ActionFinished(a Action, took time.Duration, r Result, err error)
	// Looked is called after each look, with what was seen and what comes of it.
	Looked(desired schema.DesiredState, actual schema.ActualState, plan Plan)
}

// Recorder is an ability that an Actual may have: to keep what a manifest says of a pod
// beyond what needs an action (labels, policies).
type Recorder interface {
	Record(ctx context.Context, pod *schema.Pod) error
}

// Options configure a Loop.
type Options struct {
	Policy Policy
	// Parallel is how many pods are worked on at once; 0 means 8.
	Parallel int
	Observer Observer
	Log      logr.Logger
}

const (
	defaultParallel = 8
	// lookEvery bounds how long a lost wake-up can matter.
	lookEvery = 30 * time.Second
	// actionLimit bounds any action; pulling a large image is the longest honest one.
	actionLimit = 15 * time.Minute
	// stopLimit is how long actions under way get to reach their end when the loop stops.
	stopLimit = 20 * time.Second
)

// Loop keeps the actual state equal to the desired one.
type Loop struct {
	desired Desired
	actual  Actual
	opt     Options
	wake    chan struct{}
	slots   chan struct{}

	mu   sync.Mutex
	busy map[schema.Ref]bool
}

// NewLoop returns a loop; nothing is looked at yet.
func NewLoop(desired Desired, actual Actual, opt Options) *Loop {
	if opt.Parallel == 0 {
		opt.Parallel = defaultParallel
	}
	return &Loop{
		desired: desired,
		actual:  actual,
		opt:     opt,
		wake:    make(chan struct{}, 1),
		slots:   make(chan struct{}, opt.Parallel),
		busy:    make(map[schema.Ref]bool),
	}
}

// Wake asks for a look. It carries no data and never blocks: a lost or doubled wake-up
// cannot matter, since each look sees everything.
func (l *Loop) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run keeps converging until ctx ends, then lets what is under way come to its end. It
// returns nil then, once everything it started has ended.
func (l *Loop) Run(ctx context.Context) error {
	_, err := l.loop(ctx, func(look) bool { return false })
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// look is one look at the world.
type look struct {
	desired schema.DesiredState
	actual  schema.ActualState
	plan    Plan
	busy    int // pods that are being worked on
	// lingering: a pod that is meant to end has only just begun to run.
	lingering bool
}

// loop looks and acts until enough says so or ctx ends; it returns the last look.
func (l *Loop) loop(ctx context.Context, enough func(look) bool) (last look, err error) {
	var workers sync.WaitGroup
	defer workers.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return last, context.Cause(ctx)
		case <-l.wake:
		case <-timer.C:
		}
		seen, err := l.look(ctx)
		if err != nil {
			if ctx.Err() == nil {
				l.opt.Log.Error(err, "look; what is known is left as it is")
			}
			timer.Reset(time.Second)
			continue
		}
		seen.busy = l.act(ctx, &seen, &workers)
		last = seen
		if enough(seen) {
			return last, nil
		}
		next := until(seen.plan.Next)
		if seen.lingering {
			next = min(next, lingers)
		}
		timer.Reset(next)
	}
}

// until is the time to the next look that the clock alone makes due.
func until(next time.Time) time.Duration {
	if next.IsZero() {
		return lookEvery
	}
	return min(max(time.Until(next), 0), lookEvery)
}

func (l *Loop) look(ctx context.Context) (look, error) {
	desired, err := l.desired.Pods(ctx)
	if err != nil {
		return look{}, fmt.Errorf("read the desired state: %w", err)
	}
	actual, err := l.actual.Pods(ctx)
	if err != nil {
		return look{}, fmt.Errorf("read the actual state: %w", err)
	}
	now := time.Now()
	plan := Diff(desired, actual, l.opt.Policy, now)
	if l.opt.Observer != nil {
		l.opt.Observer.Looked(desired, actual, plan)
	}
	seen := look{desired: desired, actual: actual, plan: plan}
	statuses := statusesOf(actual)
	for i := range desired.Pods {
		pod := &desired.Pods[i]
		seen.lingering = seen.lingering || lingering(pod, statuses[pod.Ref], now)
	}
	return seen, nil
}

// act starts a worker for each pod that has actions and none under way; it returns how
// many pods are being worked on.
func (l *Loop) act(ctx context.Context, seen *look, workers *sync.WaitGroup) int {
	byPod := make(map[schema.Ref][]Action)
	for _, a := range seen.plan.Actions {
		byPod[a.Pod] = append(byPod[a.Pod], a)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for ref, actions := range byPod {
		l.start(workers, ref, func() { l.work(ctx, actions) })
	}
	l.record(ctx, seen, workers)
	return len(l.busy)
}

// start runs work for a pod unless it is worked on already. The caller holds l.mu.
func (l *Loop) start(workers *sync.WaitGroup, ref schema.Ref, work func()) {
	if l.busy[ref] {
		return
	}
	l.busy[ref] = true
	workers.Go(func() {
		work()
		l.mu.Lock()
		delete(l.busy, ref)
		l.mu.Unlock()
		l.Wake()
	})
}

// work does a pod's actions in order, up to the first that fails: what comes after it
// counts on it, and the next look sees what is left.
func (l *Loop) work(ctx context.Context, actions []Action) {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return
	}
	for _, a := range actions {
		if ctx.Err() != nil || l.do(ctx, a) != nil {
			return
		}
	}
}

// do carries out one action. When the loop is told to stop, the action gets some time to
// come to its end.
func (l *Loop) do(ctx context.Context, a Action) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), actionLimit)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(stopLimit):
			cancel()
		case <-limited.Done():
		}
	})()
	log := l.opt.Log.WithValues("pod", a.Pod.String(), "action", a.String())
	if l.opt.Observer != nil {
		l.opt.Observer.ActionStarted(a)
	}
	log.V(1).Info("started", "cause", a.Cause)
	start := time.Now()
	result, err := l.actual.Apply(limited, a)
	took := time.Since(start)
	if l.opt.Observer != nil {
		l.opt.Observer.ActionFinished(a, took, result, err)
	}
	if err != nil {
		log.V(1).Info("failed", "took", took, "cause", err.Error())
	} else {
		log.V(1).Info("done", "took", took)
	}
	return err
}

// record keeps what changed about pods without needing an action. The caller holds l.mu.
func (l *Loop) record(ctx context.Context, seen *look, workers *sync.WaitGroup) {
	recorder, ok := l.actual.(Recorder)
	if !ok {
		return
	}
	desired := make(map[schema.Ref]*schema.Pod, len(seen.desired.Pods))
	for i := range seen.desired.Pods {
		desired[seen.desired.Pods[i].Ref] = &seen.desired.Pods[i]
	}
	for i := range seen.actual.Pods {
		status := &seen.actual.Pods[i]
		pod := desired[status.Ref]
		if pod == nil || !status.Configured || status.Machine != schema.MachineRunning || sameWords(pod, status.Spec) ||
			status.Source != pod.Source || status.VMDigest != pod.VMDigest() {
			continue
		}
		l.start(workers, pod.Ref, func() {
			if err := recorder.Record(ctx, pod); err != nil {
				l.opt.Log.V(1).Info("the manifest is not kept with its pod", "pod", pod.Ref.String(), "cause", err.Error())
			}
		})
	}
}

// sameWords tells whether two versions of a pod say the same, wherever they stand.
func sameWords(a, b *schema.Pod) bool {
	if b == nil {
		return false
	}
	x, y := *a, *b
	x.Origin, y.Origin = schema.Origin{}, schema.Origin{}
	return reflect.DeepEqual(x, y)
}
