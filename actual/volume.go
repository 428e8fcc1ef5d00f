package actual

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
	"github.com/firkin-dev/firkin-reconcile/volume"
)

// Claims keeps the disks of named claims.
type Claims interface {
	// Ensure returns the claim's disk for a pod, made with that size where there is none;
	// one that is there grows to it. One that another pod has is a *volume.InUseError, one
	// that would have to shrink a *volume.ShrinkError.
	Ensure(ctx context.Context, claim schema.Ref, sizeBytes int64, pod schema.Ref) (volume.Disk, error)
}

// errNoClaims means that the disk of a claim cannot be attached to the pod's running VM.
var errNoClaims = errors.New("no disk can be attached to a running VM")

// addVolume makes a volume in the pod's VM, or changes the files of one that is there.
func (o *Observer) addVolume(ctx context.Context, m *machine, agent agentpb.AgentClient, a reconcile.Action) (reconcile.Result, error) {
	clock := startWatch()
	v := a.Spec.Volume(a.Name)
	if v == nil {
		return clock.result(), fmt.Errorf("the manifest declares no such volume")
	}
	m.adding.RLock()
	defer m.adding.RUnlock()
	req, disk, err := o.volumeRequest(ctx, m, a.Spec, v)
	if err != nil {
		return clock.result(), err
	}
	if disk.ID != "" {
		// gofail: var volumeAttaching struct{}
		clock.lap("disk")
		if v.Image != nil {
			err = o.bringImage(ctx, m, agent, disk, clock)
		} else {
			err = attachClaim(ctx, m, disk, clock)
		}
		if err != nil {
			return clock.result(), err
		}
		// gofail: var volumeAttached struct{}
	}
	ctx, cancel := limit(ctx, startTimeout)
	defer cancel()
	// gofail: var volumeAdding struct{}
	state, err := agent.AddVolume(ctx, req)
	if err != nil {
		o.letGo(context.WithoutCancel(ctx), m, disk.ID)
		return clock.result(), fromAgent(ctx, err)
	}
	// gofail: var volumeAdded struct{}
	clock.lap("add")
	return clock.result(), o.heard(m, state)
}

// attachClaim attaches the disk of a claim, which the guest writes to: unlike an image it has
// to be the host's own.
func attachClaim(ctx context.Context, m *machine, disk driver.Disk, clock *stopwatch) error {
	err := m.attach(ctx, disk)
	clock.lap("attach")
	if errors.Is(err, driver.ErrUnsupported) {
		return fmt.Errorf("%w: claims cannot be used on this host; an emptyDir or a hostPath can: %w", errNoClaims, err)
	}
	if err != nil {
		return fmt.Errorf("attach the disk: %w", err)
	}
	return nil
}

// volumeRequest is what the agent is told of a volume, and the disk it is on (the zero
// Disk for none).
func (o *Observer) volumeRequest(ctx context.Context, m *machine, pod *schema.Pod, v *schema.Volume) (*agentpb.AddVolumeRequest, driver.Disk, error) {
	manifest, err := json.Marshal(v)
	if err != nil {
		return nil, driver.Disk{}, fmt.Errorf("record the volume: %w", err)
	}
	req := &agentpb.AddVolumeRequest{Name: v.Name, Digest: v.Digest(), Manifest: manifest}
	var disk driver.Disk
	readOnly := false
	switch {
	case v.Files != nil:
		files, err := volumeFiles(v.Files.Files, o.factsOf(m))
		if err != nil {
			return nil, disk, err
		}
		req.Source = &agentpb.AddVolumeRequest_Files{Files: &agentpb.FilesVolume{Files: files}}
	case v.HostPath != nil:
		share, err := o.share(m, v.Name)
		if err != nil {
			return nil, disk, err
		}
		req.Source = &agentpb.AddVolumeRequest_Share{Share: &agentpb.ShareVolume{Share: share.Name, File: share.File}}
	case v.Image != nil:
		if disk, err = o.imageDisk(ctx, pod, v.Image); err != nil {
			return nil, disk, err
		}
	case v.Claim != nil:
		if disk, err = o.claimDisk(ctx, m, pod, v); err != nil {
			return nil, disk, err
		}
		readOnly = v.Claim.ReadOnly
	default:
		return nil, disk, errors.New("its kind is not known")
	}
	if disk.ID != "" {
		req.Source = &agentpb.AddVolumeRequest_Disk{Disk: &agentpb.DiskVolume{Disk: disk.ID, ReadOnly: readOnly || disk.ReadOnly}}
	}
	return req, disk, nil
}

// volumeFiles are the files with their content, which is in no record of ours.
func volumeFiles(files []schema.File, f facts) ([]*agentpb.VolumeFile, error) {
	list := make([]*agentpb.VolumeFile, 0, len(files))
	for _, file := range files {
		content, known := file.Data.Reveal()
		if file.From.AtRuntime() {
			content, known = f.value(file.From.Field)
		}
		if !known {
			return nil, fmt.Errorf("%w: the content of %s is not known", ErrConfig, file.Path)
		}
		list = append(list, &agentpb.VolumeFile{Path: file.Path, Mode: file.Mode, Data: []byte(content)})
	}
	return list, nil
}

// share is the share that a hostPath volume was made as.
func (o *Observer) share(m *machine, name string) (driver.Share, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	shares := m.info.Spec.Shares
	i := slices.IndexFunc(shares, func(s driver.Share) bool { return s.Name == name })
	if i < 0 {
		return driver.Share{}, fmt.Errorf("%w: the VM was made without it", ErrHostPath)
	}
	return shares[i], nil
}

func (o *Observer) imageDisk(ctx context.Context, pod *schema.Pod, v *schema.ImageVolume) (driver.Disk, error) {
	img, err := o.images.Ensure(ctx, v.Reference, pod.Dir(), image.PullPolicy(v.PullPolicy))
	if err != nil {
		return driver.Disk{}, err
	}
	if img.TemplatePath == "" {
		return driver.Disk{}, fmt.Errorf("%w: %s is no image of its own", ErrConfig, v.Reference)
	}
	return driver.Disk{ID: img.DiskID, Path: img.TemplatePath, ReadOnly: true}, nil
}

func (o *Observer) removeVolume(ctx context.Context, m *machine, agent agentpb.AgentClient, a reconcile.Action) (reconcile.Result, error) {
	ctx, cancel := limit(ctx, callTimeout)
	defer cancel()
	disk, image := o.diskOfVolume(m, a.Name)
	// gofail: var volumeRemoving struct{}
	state, err := agent.RemoveVolume(ctx, &agentpb.RemoveVolumeRequest{Name: a.Name})
	if err != nil {
		return reconcile.Result{}, fromAgent(ctx, err)
	}
	// gofail: var volumeRemoved struct{}
	if err := o.heard(m, state); err != nil {
		return reconcile.Result{}, err
	}
	o.letGo(ctx, m, disk)
	// gofail: var volumeDetached struct{}
	if image == "" {
		return reconcile.Result{}, nil
	}
	if err := os.Remove(image); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return reconcile.Result{}, fmt.Errorf("delete the disk: %w", err)
	}
	return reconcile.Result{}, nil
}
