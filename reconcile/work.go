package reconcile

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// act starts a worker for each pod that has actions, none under way, and a free slot. What
// is left out waits for slots for a moment (see fill), and is then planned anew.
func (l *Loop) act(ctx context.Context, seen *look, workers *sync.WaitGroup) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for ref, until := range l.resting {
		if !now.Before(until) {
			delete(l.resting, ref)
			continue
		}
		seen.rest(until)
	}
	planned := slices.DeleteFunc(l.inTurn(seen.plan.Actions), func(actions []Action) bool {
		until := l.done.until(actions, now)
		if !now.Before(until) {
			return false
		}
		seen.rest(until)
		return true
	})
	l.queue = queue{pods: planned, stale: seen.stale, until: now.Add(queueLimit)}
	l.fill(ctx, workers)
	l.record(ctx, seen, workers)
	seen.busy = max(len(l.busy), len(seen.stale))
}

// queue is what a look planned and there was no slot for.
type queue struct {
	pods [][]Action // of one pod each
	// stale are the pods whose plans may be from before their last actions.
	stale map[schema.Ref]bool
	until time.Time
}

// queueLimit is how old a plan may be that is begun: by then another look is due, and the
// plan may be wrong.
const queueLimit = 100 * time.Millisecond

// inTurn returns the actions by pod, beginning after the pod that was begun last, so that
// pods that always have something to do do not keep the slots from others.
func (l *Loop) inTurn(actions []Action) [][]Action {
	var first, later [][]Action
	for len(actions) > 0 {
		ref, n := actions[0].Pod, 1
		for n < len(actions) && actions[n].Pod == ref {
			n++
		}
		if ref.Compare(l.begun) > 0 {
			first = append(first, actions[:n])
		} else {
			later = append(later, actions[:n])
		}
		actions = actions[n:]
	}
	return append(first, later...)
}

// fill begins work on the pods of the queue for which there are slots. The caller holds l.mu.
func (l *Loop) fill(ctx context.Context, workers *sync.WaitGroup) {
	now := time.Now()
	for len(l.queue.pods) > 0 && now.Before(l.queue.until) && ctx.Err() == nil {
		actions := l.queue.pods[0]
		ref := actions[0].Pod
		if l.queue.stale[ref] || l.busy[ref] || now.Before(l.resting[ref]) {
			l.queue.pods = l.queue.pods[1:]
			continue
		}
		release, ok := l.slot()
		if !ok {
			return
		}
		l.queue.pods, l.begun = l.queue.pods[1:], ref
		l.start(ctx, workers, ref, func() {
			defer release()
			l.work(ctx, actions)
		})
	}
}

// slotLimit is how long a pod keeps its slot: one that hangs longer goes on without, so
// that pods that hang do not keep others from being worked on.
const slotLimit = 30 * time.Second

// slot takes a slot if one is free; release gives it back, unless slotLimit already did.
func (l *Loop) slot() (release func(), ok bool) {
	select {
	case l.slots <- struct{}{}:
	default:
		return nil, false
	}
	free := sync.OnceFunc(func() { <-l.slots })
	timer := time.AfterFunc(slotLimit, func() {
		free()
		l.Wake()
	})
	return func() {
		timer.Stop()
		free()
	}, true
}

// start runs work for a pod unless it is worked on already. The caller holds l.mu.
func (l *Loop) start(ctx context.Context, workers *sync.WaitGroup, ref schema.Ref, work func()) {
	if l.busy[ref] {
		return
	}
	l.busy[ref] = true
	workers.Go(func() {
		work()
		l.mu.Lock()
		delete(l.busy, ref)
		l.fill(ctx, workers)
		l.mu.Unlock()
		l.Wake()
	})
}

// rest leaves a pod alone for a moment.
func (l *Loop) rest(ref schema.Ref) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resting[ref] = time.Now().Add(failureRest)
}

// work does a pod's actions in order, up to the first that fails: what comes after it
// counts on it, and the next look sees what is left.
func (l *Loop) work(ctx context.Context, actions []Action) {
	for _, a := range actions {
		if ctx.Err() != nil {
			return
		}
		if l.do(ctx, a) != nil {
			l.rest(a.Pod)
			return
		}
		l.mu.Lock()
		l.causes.note(a)
		l.mu.Unlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done.note(actions, time.Now())
}

// limitOf bounds an action: a boot, the pull of a large image (for a container or a volume),
// the grace of processes that are told to end, a trim of a large store.
func limitOf(a Action) time.Duration {
	switch {
	case a.Type == Add && a.Kind == KindPod:
		return 3 * time.Minute
	case a.Type == Add && a.Kind == KindContainer:
		return 15 * time.Minute
	case a.Type == Trim:
		return 6 * time.Minute
	case a.Type == Add && a.Kind == KindVolume:
		return 15 * time.Minute
	case a.Kind == KindEmptyDir, a.Kind == KindVolume:
		return time.Minute
	default:
		return max(a.Grace, 0) + 2*time.Minute
	}
}

// do carries out one action. When the loop is told to stop, the action gets some time to
// come to its end.
func (l *Loop) do(ctx context.Context, a Action) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), limitOf(a))
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
