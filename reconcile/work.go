package reconcile

import (
	"context"
	"sync"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// act starts a worker for each pod that has actions, none under way, and a free slot. A
// pod that is left out is planned anew in the next look, since its plan may be wrong by
// the time a slot is free.
func (l *Loop) act(ctx context.Context, seen *look, workers *sync.WaitGroup) {
	byPod := make(map[schema.Ref][]Action)
	for _, a := range seen.plan.Actions {
		byPod[a.Pod] = append(byPod[a.Pod], a)
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for ref, until := range l.resting {
		switch {
		case !now.Before(until):
			delete(l.resting, ref)
		case seen.rested.IsZero() || until.Before(seen.rested):
			seen.rested = until
		}
	}
	for ref, actions := range byPod {
		if seen.stale[ref] || l.busy[ref] || now.Before(l.resting[ref]) {
			continue
		}
		release, ok := l.slot()
		if !ok {
			break
		}
		l.start(workers, ref, func() {
			defer release()
			l.work(ctx, actions)
		})
	}
	l.record(ctx, seen, workers)
	seen.busy = max(len(l.busy), len(seen.stale))
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
