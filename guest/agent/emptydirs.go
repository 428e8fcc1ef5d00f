package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// emptyDir is one volume. Its fields are the agent's, under its lock.
type emptyDir struct {
	req   *agentpb.AddEmptyDirRequest
	order int
	// busy is the slow work under way on it; made is false until it is there.
	busy *operation
	made bool
	// lost: its making failed and it is not to be saved any more.
	lost bool
}

// pending tells whether it is not there yet.
func (d *emptyDir) pending() bool { return !d.made }

// restore makes the volume of a saved record.
func (d savedDir) restore() *emptyDir {
	return &emptyDir{
		req:   &agentpb.AddEmptyDirRequest{Name: d.Name, Digest: d.Digest, Memory: d.Memory, SizeLimitBytes: d.SizeLimit},
		order: d.Order,
		made:  true,
	}
}

func (a *Agent) addEmptyDir(ctx context.Context, req *agentpb.AddEmptyDirRequest) (*agentpb.PodState, error) {
	if err := checkName("emptyDir name", req.GetName(), maxName); err != nil {
		return nil, err
	}
	if err := checkDigest("emptyDir digest", req.GetDigest()); err != nil {
		return nil, err
	}
	if req.GetSizeLimitBytes() < 0 {
		return nil, invalid("size limit is negative")
	}
	dir, op, err := a.reserveDir(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("add emptyDir %s: %w", req.GetName(), err)
	}
	if op == nil {
		return a.saved(ctx)
	}
	work, cancel := detached(ctx, emptyDirLimit)
	defer cancel()
	err = a.makeDir(work, dir)
	a.mu.Lock()
	dir.busy = nil
	op.finish(err)
	a.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("add emptyDir %s: %w", req.GetName(), err)
	}
	return a.snapshot(), nil
}

// reserveDir returns the volume and the operation to make it by; a nil operation
// when it is there already.
func (a *Agent) reserveDir(ctx context.Context, req *agentpb.AddEmptyDirRequest) (*emptyDir, *operation, error) {
	for {
		a.mu.Lock()
		if err := a.ready(); err != nil {
			a.mu.Unlock()
			return nil, nil, err
		}
		d := a.dirs[req.GetName()]
		switch {
		case a.volumes[req.GetName()] != nil:
			a.mu.Unlock()
			return nil, nil, fmt.Errorf("%w: as a volume that is no emptyDir", ErrExists)
		case d == nil:
			defer a.mu.Unlock()
			if len(a.dirs) >= maxEmptyDirs {
				return nil, nil, fmt.Errorf("%w: %d emptyDirs", ErrTooMany, len(a.dirs))
			}
			d = &emptyDir{req: proto.CloneOf(req), order: a.nextOrder, busy: newOperation()}
			a.nextOrder++
			a.dirs[req.GetName()] = d
			a.changedState()
			return d, d.busy, nil
		case d.req.GetDigest() != req.GetDigest():
			a.mu.Unlock()
			return nil, nil, ErrExists
		case d.busy == nil:
			a.mu.Unlock()
			return d, nil, nil
		}
		op, making := d.busy, !d.made
		a.mu.Unlock()
		if err := op.wait(ctx); err != nil && (making || ctx.Err() != nil) {
			return nil, nil, err
		}
	}
}

// makeDir brings a reserved volume about, or takes its reservation back. Its record
// is saved first, so that no volume can be there without one.
func (a *Agent) makeDir(ctx context.Context, d *emptyDir) error {
	err := a.save(ctx)
	if err == nil {
		err = a.rt.CreateEmptyDir(ctx, d.req)
	}
	if err == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		d.made = true
		a.touch()
		return nil
	}
	clean, cancel := detached(ctx, cleanLimit)
	defer cancel()
	undo := a.rt.RemoveEmptyDir(clean, d.req.GetName())
	a.mu.Lock()
	d.lost = true
	delete(a.dirs, d.req.GetName())
	a.changedState()
	a.saveSoon()
	a.mu.Unlock()
	return errors.Join(err, undo)
}

func (a *Agent) removeEmptyDir(ctx context.Context, name string) (*agentpb.PodState, error) {
	if err := checkName("emptyDir name", name, maxName); err != nil {
		return nil, err
	}
	d, op, err := a.claimDir(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("remove emptyDir %s: %w", name, err)
	}
	if op == nil {
		return a.saved(ctx)
	}
	work, cancel := detached(ctx, emptyDirLimit)
	defer cancel()
	err = a.rt.RemoveEmptyDir(work, name)
	a.mu.Lock()
	d.busy = nil
	if err == nil {
		delete(a.dirs, name)
		delete(a.usage.dirs, name)
		a.changedState()
		a.touch()
	}
	op.finish(err)
	a.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("remove emptyDir %s: %w", name, err)
	}
	return a.saved(work)
}

// claimDir returns the volume and the operation to remove it by; a nil operation
// when there is nothing to remove.
func (a *Agent) claimDir(ctx context.Context, name string) (*emptyDir, *operation, error) {
	for {
		a.mu.Lock()
		d := a.dirs[name]
		switch user := a.mountedBy(name); {
		case a.ready() != nil:
			err := a.ready()
			a.mu.Unlock()
			return nil, nil, err
		case d == nil:
			a.mu.Unlock()
			return nil, nil, nil
		case user != "":
			a.mu.Unlock()
			return nil, nil, fmt.Errorf("%w by container %s", ErrMounted, user)
		case d.busy == nil:
			defer a.mu.Unlock()
			d.busy = newOperation()
			return d, d.busy, nil
		}
		op := d.busy
		a.mu.Unlock()
		// Whatever came of it, look again.
		if err := op.wait(ctx); err != nil && ctx.Err() != nil {
			return nil, nil, err
		}
	}
}

// mountedBy names a container that holds the volume, "" when none does. a.mu is held.
func (a *Agent) mountedBy(name string) string {
	for _, c := range a.containers {
		if c.State != stateTerminated && slices.Contains(c.Volumes, name) {
			return c.Name
		}
	}
	return ""
}

// usable checks that a volume is there and stays. a.mu is held.
func (a *Agent) usable(name string) error {
	if d := a.dirs[name]; d != nil && d.made && d.busy == nil {
		return nil
	}
	if v := a.volumes[name]; v != nil && v.made && !v.removing {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrUndeclared, name)
}

// saved returns the pod's state once it is on the store.
func (a *Agent) saved(ctx context.Context) (*agentpb.PodState, error) {
	work, cancel := detached(ctx, saveLimit)
	defer cancel()
	if err := a.save(work); err != nil {
		return nil, err
	}
	return a.snapshot(), nil
}
