package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// defaultGrace is how long containers get to end when the host does not say.
const defaultGrace = 30 * time.Second

// settings is what the agent itself needs of how the pod was configured.
type settings struct {
	// host is where probes and hooks find the pod's containers.
	host string
	// grace is how long a container gets to end that the agent ends.
	grace time.Duration
}

func newSettings(req *agentpb.ConfigureRequest) settings {
	s := settings{host: "127.0.0.1", grace: defaultGrace}
	if p, err := netip.ParsePrefix(req.GetNetwork().GetAddress()); err == nil {
		s.host = p.Addr().String()
	}
	if req.GetGrace() != nil {
		s.grace = min(req.GetGrace().AsDuration(), maxGrace)
	}
	return s
}

// doConfigure opens the store at the first call; later ones take over the manifest,
// the source and the grace.
func (a *Agent) doConfigure(ctx context.Context, req *agentpb.ConfigureRequest) (*agentpb.PodState, error) {
	if err := checkConfigure(req); err != nil {
		return nil, err
	}
	for {
		a.mu.Lock()
		switch {
		case a.shutdown != nil:
			a.mu.Unlock()
			return nil, errShuttingDown
		case a.pod != nil:
			defer a.mu.Unlock()
			return a.reconfigure(req)
		case a.configure != nil:
			op := a.configure
			a.mu.Unlock()
			select {
			case <-op.done: // look at its outcome anew
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		op := newOperation()
		a.configure = op
		a.mu.Unlock()

		work, cancel := detached(ctx, configureLimit)
		err := a.openPod(work, req)
		cancel()
		a.mu.Lock()
		a.configure = nil
		op.finish(err)
		defer a.mu.Unlock()
		if err != nil {
			return nil, err
		}
		return a.podState(), nil
	}
}

// reconfigure takes over what may change of a configured pod. a.mu is held.
func (a *Agent) reconfigure(req *agentpb.ConfigureRequest) (*agentpb.PodState, error) {
	now, pod := a.pod, req.GetPod()
	if pod.GetUid() != now.GetUid() || pod.GetNamespace() != now.GetNamespace() || pod.GetName() != now.GetName() {
		return nil, fmt.Errorf("configure pod %s/%s (%s): %w: %s/%s (%s)", pod.GetNamespace(), pod.GetName(), pod.GetUid(),
			ErrOtherPod, now.GetNamespace(), now.GetName(), now.GetUid())
	}
	if string(pod.GetManifest()) != string(now.GetManifest()) || pod.GetSource() != now.GetSource() {
		if err := a.roomForManifest(len(pod.GetManifest()) - len(now.GetManifest())); err != nil {
			return nil, err
		}
		next := proto.CloneOf(now)
		next.Manifest, next.Source = pod.GetManifest(), pod.GetSource()
		a.pod = next
		a.touch()
	}
	a.settings.grace = newSettings(req).grace
	return a.podState(), nil
}

// openPod opens the store and takes over what it says. On failure the pod is not
// configured and the call can be repeated.
func (a *Agent) openPod(ctx context.Context, req *agentpb.ConfigureRequest) error {
	pod := req.GetPod()
	log := a.opt.Log.WithValues("pod", pod.GetNamespace()+"/"+pod.GetName())
	a.podLog.Store(&log)
	if err := a.rt.OpenStore(ctx, req); err != nil {
		return fmt.Errorf("configure pod: open store: %w", err)
	}
	data, err := a.rt.LoadState(ctx)
	if err != nil {
		return fmt.Errorf("configure pod: load state: %w", err)
	}
	if err := a.rt.CleanAll(ctx); err != nil {
		return fmt.Errorf("configure pod: clean up containers: %w", err)
	}
	old, unreadable := a.recall(data)
	if old.Pod.UID != "" && old.Pod.UID != pod.GetUid() {
		return errors.Join(fmt.Errorf("configure pod %s: %w: the store is that of %s", pod.GetUid(), ErrOtherPod, old.Pod.UID),
			a.rt.CloseStore(ctx))
	}
	dirs := make(map[string]*emptyDir, len(old.EmptyDirs))
	for _, d := range old.EmptyDirs {
		dir := d.restore()
		if err := a.rt.CreateEmptyDir(ctx, dir.req); err != nil {
			return fmt.Errorf("configure pod: restore emptyDir %s: %w", d.Name, err)
		}
		dirs[d.Name] = dir
	}
	a.mu.Lock()
	a.pod = proto.CloneOf(pod)
	a.settings = newSettings(req)
	if a.createdAt = old.Pod.CreatedAt; a.createdAt.IsZero() {
		a.createdAt = time.Now()
	}
	a.dirs = dirs
	a.unreadable = unreadable
	a.restore(old)
	a.changedState()
	a.touch()
	a.mu.Unlock()
	if err := a.save(ctx); err != nil {
		// What the store has says the same, but for what restore concludes from it again.
		a.log().Error(err, "state not saved; the next change tries again")
	}
	a.log().Info("pod configured", "containers", len(old.Containers), "emptyDirs", len(dirs))
	return nil
}

// recall decodes a saved state. One that cannot be read counts as empty, and is
// carried along for those who look into it.
func (a *Agent) recall(data []byte) (*savedState, []byte) {
	empty := &savedState{Histories: make(map[string]*history)}
	if len(data) == 0 {
		return empty, nil
	}
	s, err := decodeState(data)
	if err != nil {
		a.log().Error(err, "saved state is unreadable; the pod starts empty", "bytes", len(data))
		return empty, data[:min(len(data), maxUnreadable)]
	}
	return s, s.Unreadable
}

// restore takes over the records of the boot before: what ran then was ended by the
// machine's end; what had ended keeps its result. a.mu is held.
func (a *Agent) restore(s *savedState) {
	a.histories = s.Histories
	now := time.Now()
	for _, h := range s.Histories {
		a.nextOrder = max(a.nextOrder, h.Order+1)
	}
	for _, d := range a.dirs {
		a.nextOrder = max(a.nextOrder, d.order+1)
	}
	for _, r := range s.Containers {
		h := s.Histories[r.Name]
		if r.State == stateCreating || r.State == stateRunning {
			r.died(now)
		}
		if r.State == stateExited {
			h.add(r.run())
			r.State = stateTerminated
		}
		h.Starts = max(h.Starts, r.Restarts+1)
		c := &container{record: r, ended: make(chan struct{})}
		close(c.ended)
		a.containers[r.Name] = c
	}
}
