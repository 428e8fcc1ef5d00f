package reconcile

import (
	"context"
	"fmt"
	"maps"
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
	// lookLimit bounds each half of a look; the first settles for some seconds.
	lookLimit = time.Minute
	// lookRest is the least time between looks while pods are worked on: each step of each
	// of them asks for one.
	lookRest = 20 * time.Millisecond
	// lookShare bounds the share of the time that looks take then, as far as plans do not
	// get too old for what waits for a slot (see queueLimit): 1/lookShare.
	lookShare = 5
	// failureRest is the least time that a pod is left alone after a failed action, also
	// when Actual remembers nothing of it.
	failureRest = time.Second
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

	// looked is when the last look began, took how long it took; loop alone uses them and planner.
	looked  time.Time
	took    time.Duration
	planner planner

	mu   sync.Mutex
	busy map[schema.Ref]bool
	// queue waits for slots; begun is the pod that got the last one.
	queue queue
	begun schema.Ref
	// resting are the pods that had a failed action, until when they are left alone.
	resting map[schema.Ref]time.Time
	done    doneLog
	causes  causes
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
		resting: make(map[schema.Ref]time.Time),
		done:    doneLog{pods: make(map[schema.Ref][]done)},
		causes:  make(causes),
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
	if _, err := l.loop(ctx, func(look) bool { return false }); ctx.Err() == nil {
		return err
	}
	return nil
}

// look is one look at the world.
type look struct {
	desired schema.DesiredState
	actual  schema.ActualState
	plan    Plan
	at      time.Time
	busy    int // pods that are being worked on, or were when the look began
	// stale are the pods that were worked on when the look began: what it says of them may
	// be from before their actions.
	stale map[schema.Ref]bool
	// rested is when the first pod that rests may be worked on; zero if none does.
	rested time.Time
	// lingering is how much longer a pod that has only just begun to run is looked at; see lingering.
	lingering time.Duration
}

// rest notes that a pod rests until then.
func (s *look) rest(until time.Time) {
	if s.rested.IsZero() || until.Before(s.rested) {
		s.rested = until
	}
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
		if err := l.pace(ctx); err != nil {
			return last, err
		}
		seen, err := l.look(ctx)
		if err != nil {
			if ctx.Err() == nil {
				l.opt.Log.Error(err, "look; what is known is left as it is")
			}
			timer.Reset(time.Second)
			continue
		}
		l.act(ctx, &seen, &workers)
		l.took = time.Since(l.looked)
		last = seen
		if enough(seen) {
			return last, nil
		}
		next := min(until(seen.plan.Next), until(seen.rested))
		if seen.lingering > 0 {
			next = min(next, seen.lingering)
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

// pace keeps looks apart while pods are worked on.
func (l *Loop) pace(ctx context.Context) error {
	l.mu.Lock()
	busy := len(l.busy) > 0
	l.mu.Unlock()
	apart := min(max(lookRest, lookShare*l.took), queueLimit)
	if rest := apart - time.Since(l.looked); busy && rest > 0 {
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	l.looked = time.Now()
	return nil
}

// within calls a reader with lookLimit.
func within[T any](ctx context.Context, read func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	return read(ctx)
}

func (l *Loop) look(ctx context.Context) (look, error) {
	l.mu.Lock()
	stale := maps.Clone(l.busy)
	l.queue = queue{} // nothing is begun and ended between here and act without being stale
	l.mu.Unlock()
	desired, err := within(ctx, l.desired.Pods)
	if err != nil {
		return look{}, fmt.Errorf("read the desired state: %w", err)
	}
	actual, err := within(ctx, l.actual.Pods)
	if err != nil {
		return look{}, fmt.Errorf("read the actual state: %w", err)
	}
	now := time.Now()
	plan := l.planner.plan(desired, actual, l.opt.Policy, now)
	l.mu.Lock()
	for i, a := range plan.Actions {
		plan.Actions[i] = l.causes.explain(a)
	}
	l.mu.Unlock()
	if l.opt.Observer != nil {
		l.opt.Observer.Looked(desired, actual, plan)
	}
	seen := look{desired: desired, actual: actual, plan: plan, at: now, stale: stale}
	for _, c := range l.planner.couples {
		seen.lingering = max(seen.lingering, c.lingering(now))
	}
	return seen, nil
}
