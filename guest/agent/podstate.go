package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// How old figures of usage may be when asked for, how long an answer waits for new
// ones, and how long measuring them may take.
const (
	usageAge   = 3 * time.Second
	usageWait  = time.Second
	usageLimit = 10 * time.Second
)

// usageCache keeps the last figures of usage: measuring walks files. Under Agent.mu.
type usageCache struct {
	store      *agentpb.StoreUsage
	dirs       map[string]int64
	measured   time.Time
	refreshing chan struct{}
}

// podState renders the pod. a.mu is held.
func (a *Agent) podState() *agentpb.PodState {
	s := &agentpb.PodState{
		Revision:     a.revision,
		BootId:       a.rt.BootID(),
		AgentVersion: a.opt.Version,
		Pod:          a.pod, // replaced, never changed
		Store:        a.usage.store,
		BootedAt:     timestamppb.New(a.bootedAt),
		CreatedAt:    stamp(a.createdAt),
		Volumes:      a.volumeStates(),
	}
	for _, c := range a.sortedContainers() {
		s.Containers = append(s.Containers, c.proto(a.histories[c.Name]))
	}
	dirs := slices.SortedFunc(maps.Values(a.dirs), func(x, y *emptyDir) int { return cmp.Compare(x.order, y.order) })
	for _, d := range dirs {
		if d.pending() {
			continue
		}
		s.EmptyDirs = append(s.EmptyDirs, &agentpb.EmptyDirState{
			Name:           d.req.GetName(),
			Digest:         d.req.GetDigest(),
			Memory:         d.req.GetMemory(),
			SizeLimitBytes: d.req.GetSizeLimitBytes(),
			UsedBytes:      a.usage.dirs[d.req.GetName()],
		})
	}
	return s
}

// sortedContainers puts init containers first, then goes by order of addition. a.mu is held.
func (a *Agent) sortedContainers() []*container {
	return slices.SortedFunc(maps.Values(a.containers), func(x, y *container) int {
		if x.Init != y.Init {
			if x.Init {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.histories[x.Name].Order, a.histories[y.Name].Order)
	})
}

// snapshot is podState for those who do not hold a.mu.
func (a *Agent) snapshot() *agentpb.PodState {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.podState()
}

func (a *Agent) describe(ctx context.Context) *agentpb.PodState {
	a.refreshUsage(ctx)
	return a.snapshot()
}

// refreshUsage measures usage unless the figures are fresh. It waits a bounded
// time; who comes too early for the figures gets the ones before.
func (a *Agent) refreshUsage(ctx context.Context) {
	a.mu.Lock()
	if a.ready() != nil || time.Since(a.usage.measured) < usageAge {
		a.mu.Unlock()
		return
	}
	done := a.usage.refreshing
	if done == nil {
		done = make(chan struct{})
		names := slices.Sorted(maps.Keys(a.dirs))
		if !a.background(func() { a.measure(names, done) }) {
			a.mu.Unlock()
			return
		}
		a.usage.refreshing = done
	}
	a.mu.Unlock()
	timer := time.NewTimer(usageWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// measure takes new figures; where that fails the ones before stay.
func (a *Agent) measure(dirs []string, done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), usageLimit)
	defer cancel()
	store, err := a.storeUsage(ctx)
	if err != nil {
		a.log().V(1).Info("store usage not measured", "cause", err.Error())
	}
	used := make(map[string]int64, len(dirs))
	for _, name := range dirs {
		n, err := a.rt.EmptyDirUsage(ctx, name)
		if err != nil {
			a.log().V(1).Info("emptyDir usage not measured", "emptyDir", name, "cause", err.Error())
			continue
		}
		used[name] = n
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.setStoreUsage(store)
	for name, n := range a.usage.dirs {
		if _, ok := used[name]; !ok && a.dirs[name] != nil {
			used[name] = n
		}
	}
	a.usage.dirs = used
	a.usage.measured = time.Now()
	a.usage.refreshing = nil
	close(done)
}

// setStoreUsage takes over a figure of the store; nil is none. a.mu is held.
func (a *Agent) setStoreUsage(u *agentpb.StoreUsage) {
	if u != nil {
		a.usage.store = proto.CloneOf(u)
	}
}

// watch calls send with the state now and after each change, the latest one only
// when changes come faster than send. Usage is not measured for it, nor is it a change.
func (a *Agent) watch(ctx context.Context, send func(*agentpb.PodState) error) error {
	for {
		a.mu.Lock()
		s, changed := a.podState(), a.changed
		a.mu.Unlock()
		if err := send(s); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.stop:
			return errShuttingDown
		}
	}
}

// trim removes images that nothing uses and gives free blocks of the store back.
func (a *Agent) trim(ctx context.Context) (*agentpb.TrimResponse, error) {
	a.mu.Lock()
	err := a.ready()
	a.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := a.trimSlot.acquire(ctx); err != nil {
		return nil, fmt.Errorf("trim store: %w", err)
	}
	defer a.trimSlot.release()
	work, cancel := detached(ctx, trimLimit)
	defer cancel()
	if err := a.dropImages(work); err != nil {
		a.log().Error(err, "images that nothing uses stay")
	}
	n, err := a.rt.Trim(work)
	if err != nil {
		return nil, fmt.Errorf("trim store: %w", err)
	}
	store, err := a.storeUsage(work)
	if err != nil {
		a.log().V(1).Info("store usage not measured", "cause", err.Error())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.setStoreUsage(store)
	return &agentpb.TrimResponse{TrimmedBytes: n, Pod: a.podState()}, nil
}
