package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// volume is one that is no emptyDir. Its fields are the agent's, under its lock. What its
// files hold is not among them: that is the runtime's, in memory.
type volume struct {
	name, digest string
	manifest     []byte
	disk         string
	// files tells that it is of files, which are changed in place; bytes is their size.
	files bool
	bytes int
	order int
	// busy is the slow work under way on it; made is false until it is there.
	busy           *operation
	made, removing bool
}

// describe takes over what a request says about the volume.
func (v *volume) describe(req *agentpb.AddVolumeRequest) {
	v.digest, v.manifest = req.GetDigest(), req.GetManifest()
	v.disk = req.GetDisk().GetDisk()
	v.files, v.bytes = req.GetFiles() != nil, fileBytes(req)
}

// addVolume makes a volume, or changes the files of one.
func (a *Agent) addVolume(ctx context.Context, req *agentpb.AddVolumeRequest) (*agentpb.PodState, error) {
	if err := checkVolume(req); err != nil {
		return nil, err
	}
	v, err := a.reserveVolume(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("add volume %s: %w", req.GetName(), err)
	}
	if v == nil {
		return a.snapshot(), nil
	}
	work, cancel := detached(ctx, volumeLimit)
	defer cancel()
	err = a.makeVolume(work, v, req)
	a.mu.Lock()
	defer a.mu.Unlock()
	op := v.busy
	v.busy = nil
	op.finish(err)
	if err != nil {
		return nil, fmt.Errorf("add volume %s: %w", req.GetName(), err)
	}
	return a.podState(), nil
}

// reserveVolume returns the volume, busy for the caller; nil without an error when it is
// there already as it is to be.
func (a *Agent) reserveVolume(ctx context.Context, req *agentpb.AddVolumeRequest) (*volume, error) {
	for {
		a.mu.Lock()
		v := a.volumes[req.GetName()]
		if v == nil || v.busy == nil {
			defer a.mu.Unlock()
			return a.newVolume(req, v)
		}
		op := v.busy
		a.mu.Unlock()
		// Whatever came of it, look again.
		if err := op.wait(ctx); err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
}

// newVolume makes the reservation; v is the volume of that name, if any. a.mu is held.
func (a *Agent) newVolume(req *agentpb.AddVolumeRequest, v *volume) (*volume, error) {
	if err := a.ready(); err != nil {
		return nil, err
	}
	switch {
	case a.dirs[req.GetName()] != nil:
		return nil, fmt.Errorf("%w: as an emptyDir", ErrExists)
	case v != nil && v.digest == req.GetDigest():
		return nil, nil
	case v != nil && (!v.files || req.GetFiles() == nil):
		return nil, ErrExists
	case v == nil && len(a.volumes) >= maxVolumes:
		return nil, fmt.Errorf("%w: %d volumes", ErrTooMany, len(a.volumes))
	}
	growth, bytes := len(req.GetManifest()), fileBytes(req)
	if v != nil {
		growth -= len(v.manifest)
		bytes -= v.bytes
	}
	if err := a.roomForManifest(growth); err != nil {
		return nil, err
	}
	if err := a.roomForFiles(bytes); err != nil {
		return nil, err
	}
	if v == nil {
		v = &volume{name: req.GetName(), order: a.nextOrder}
		v.describe(req)
		a.nextOrder++
		a.volumes[v.name] = v
	}
	v.busy = newOperation()
	return v, nil
}

// roomForFiles bounds the memory that files take in all volumes. a.mu is held.
func (a *Agent) roomForFiles(growth int) error {
	total := growth
	for _, v := range a.volumes {
		total += v.bytes
	}
	if growth > 0 && total > maxAllFileBytes {
		return fmt.Errorf("%w: files of %d bytes in all volumes, more than %d", ErrTooMany, total, maxAllFileBytes)
	}
	return nil
}

// makeVolume brings a reserved volume about, or takes its reservation back. One whose change
// failed stays as it was.
func (a *Agent) makeVolume(ctx context.Context, v *volume, req *agentpb.AddVolumeRequest) error {
	err := a.rt.AddVolume(ctx, req)
	a.mu.Lock()
	changed := v.made
	if err == nil {
		v.made = true
		v.describe(req)
		a.touch()
	}
	a.mu.Unlock()
	if err == nil || changed {
		return err
	}
	clean, cancel := detached(ctx, cleanLimit)
	defer cancel()
	undo := a.rt.RemoveVolume(clean, v.name)
	a.mu.Lock()
	delete(a.volumes, v.name)
	a.mu.Unlock()
	return errors.Join(err, undo)
}

func (a *Agent) removeVolume(ctx context.Context, name string) (*agentpb.PodState, error) {
	if err := checkName("volume name", name, maxName); err != nil {
		return nil, err
	}
	v, err := a.claimVolume(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("remove volume %s: %w", name, err)
	}
	if v == nil {
		return a.snapshot(), nil
	}
	work, cancel := detached(ctx, volumeLimit)
	defer cancel()
	err = a.rt.RemoveVolume(work, name)
	a.mu.Lock()
	defer a.mu.Unlock()
	op := v.busy
	v.busy, v.removing = nil, false
	if err == nil {
		delete(a.volumes, name)
		a.touch()
	}
	op.finish(err)
	if err != nil {
		return nil, fmt.Errorf("remove volume %s: %w", name, err)
	}
	return a.podState(), nil
}

// claimVolume returns the volume, busy for its removal by the caller; nil when there is
// nothing to remove.
func (a *Agent) claimVolume(ctx context.Context, name string) (*volume, error) {
	for {
		a.mu.Lock()
		v := a.volumes[name]
		if err := a.ready(); err != nil || v == nil {
			a.mu.Unlock()
			return nil, err
		}
		if user := a.mountedBy(name); user != "" {
			a.mu.Unlock()
			return nil, fmt.Errorf("%w by container %s", ErrMounted, user)
		}
		if v.busy == nil {
			defer a.mu.Unlock()
			v.busy, v.removing = newOperation(), true
			return v, nil
		}
		op := v.busy
		a.mu.Unlock()
		if err := op.wait(ctx); err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
}

// volumeStates renders the volumes that are there, in the order added. a.mu is held.
func (a *Agent) volumeStates() []*agentpb.VolumeState {
	var states []*agentpb.VolumeState
	for _, v := range slices.SortedFunc(maps.Values(a.volumes), func(x, y *volume) int { return cmp.Compare(x.order, y.order) }) {
		if v.made {
			states = append(states, &agentpb.VolumeState{Name: v.name, Digest: v.digest, Manifest: v.manifest, Disk: v.disk})
		}
	}
	return states
}
