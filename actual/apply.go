package actual

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Deadlines of single calls, on top of the grace a removal gives.
const (
	callTimeout = 30 * time.Second
	// startTimeout leaves room for a busy machine under software emulation.
	startTimeout = 60 * time.Second
	bootTimeout  = 120 * time.Second
	stopTimeout  = 20 * time.Second
	trimTimeout  = 5 * time.Minute
)

// Apply carries out one action; see reconcile.Actual. A failure that is not the
// caller's own cancellation is remembered until the same object succeeds.
func (o *Observer) Apply(ctx context.Context, a reconcile.Action) (reconcile.Result, error) {
	result, err := o.apply(ctx, a)
	switch {
	case err == nil && a.Type == reconcile.Remove && a.Kind == reconcile.KindPod:
		o.failures.clearPod(a.Pod)
	case err == nil:
		o.failures.clear(a.Pod, string(a.Kind), a.Name)
	case errors.Is(context.Cause(ctx), context.Canceled):
	default:
		o.failures.add(a.Pod, a.Spec, failureOf(a, err))
	}
	if err != nil {
		return result, fmt.Errorf("%s %s %s of pod %s: %w", a.Type, a.Kind, a.Name, a.Pod, err)
	}
	return result, nil
}

func (o *Observer) apply(ctx context.Context, a reconcile.Action) (reconcile.Result, error) {
	switch {
	case a.Type == reconcile.Add && a.Kind == reconcile.KindPod:
		return o.addPod(ctx, a)
	case a.Type == reconcile.Remove && a.Kind == reconcile.KindPod:
		return o.removePod(ctx, a)
	}
	m := o.find(a.Pod)
	if m == nil {
		return reconcile.Result{}, driver.ErrNotFound
	}
	agent := agentpb.NewAgentClient(m.handle.Agent())
	switch {
	case a.Type == reconcile.Add && a.Kind == reconcile.KindEmptyDir:
		return o.addEmptyDir(ctx, m, agent, a)
	case a.Type == reconcile.Remove && a.Kind == reconcile.KindEmptyDir:
		return o.removeEmptyDir(ctx, m, agent, a)
	case a.Type == reconcile.Add && a.Kind == reconcile.KindContainer:
		return o.addContainer(ctx, m, agent, a)
	case a.Type == reconcile.Remove && a.Kind == reconcile.KindContainer:
		return o.removeContainer(ctx, m, agent, a)
	case a.Type == reconcile.Wait && a.Kind == reconcile.KindContainer:
		return o.waitContainer(ctx, m, agent, a)
	case a.Type == reconcile.Trim && a.Kind == reconcile.KindPod:
		return o.trim(ctx, m, agent)
	}
	return reconcile.Result{}, fmt.Errorf("no such action")
}

// addPod boots the pod's machine (a dead one on the store it had) and tells the agent who it is.
func (o *Observer) addPod(ctx context.Context, a reconcile.Action) (reconcile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	clock := startWatch()
	m := o.find(a.Pod)
	var err error
	if m == nil {
		m, err = o.createMachine(ctx, a.Spec)
	} else {
		err = m.handle.Start(ctx)
	}
	clock.lap("boot")
	if err != nil {
		return clock.result(), err
	}
	if err := o.configure(ctx, m, a.Spec); err != nil {
		return clock.result(), errors.Join(err, o.undoBoot(ctx, m))
	}
	clock.lap("configure")
	o.ask(ctx, m)
	return clock.result(), nil
}

func (o *Observer) createMachine(ctx context.Context, pod *schema.Pod) (*machine, error) {
	record, err := json.Marshal(pod)
	if err != nil {
		return nil, fmt.Errorf("record the pod: %w", err)
	}
	handle, err := o.driver.Create(ctx, driver.Spec{
		ID:          uuid.NewString(),
		Name:        pod.Ref.String(),
		CPUs:        pod.VM.CPUs,
		MemoryBytes: pod.VM.MemoryBytes,
		StoreBytes:  pod.VM.StoreBytes,
		Guest:       o.guest,
		Annotations: map[string]string{annotationPod: string(record)},
	})
	if err != nil {
		return nil, err
	}
	m := &machine{handle: handle, silent: errors.New("it was not asked yet")}
	m.info.State = driver.StateUnknown
	m.info.Spec.Annotations = map[string]string{annotationPod: string(record)}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.machines == nil {
		o.machines = make(map[string]*machine)
	}
	o.machines[handle.ID()] = m
	if o.follow != nil {
		o.follow(m)
	}
	return m, nil
}

// undoBoot stops a machine that booted and could not be made a pod. It keeps the
// store: a restarted pod has data on it, and a new one is removed by the next round.
func (o *Observer) undoBoot(ctx context.Context, m *machine) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := m.handle.Stop(ctx)
	o.ask(ctx, m)
	if err != nil {
		return fmt.Errorf("stop the machine again: %w", err)
	}
	return nil
}

// configure tells the agent which pod it is, and keeps the manifest with it.
func (o *Observer) configure(ctx context.Context, m *machine, pod *schema.Pod) error {
	manifest, err := json.Marshal(pod)
	if err != nil {
		return fmt.Errorf("record the pod: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	state, err := agentpb.NewAgentClient(m.handle.Agent()).Configure(ctx, &agentpb.ConfigureRequest{
		Pod: &agentpb.PodIdentity{
			Uid:       m.handle.ID(),
			Namespace: pod.Namespace,
			Name:      pod.Name,
			Source:    pod.Source,
			VmDigest:  pod.VMDigest(),
			Manifest:  manifest,
		},
		Hostname: pod.Hostname,
	})
	if err != nil {
		return fmt.Errorf("configure the pod: %w", err)
	}
	return o.heard(m, state)
}

// heard takes the state an agent answered with.
func (o *Observer) heard(m *machine, state *agentpb.PodState) error {
	if state == nil {
		return nil
	}
	if err := checkState(state); err != nil {
		return err
	}
	o.hear(m, nil, state, nil)
	return nil
}

// Record keeps the pod's manifest with its VM when it differs from what is there
// in ways that need no action (labels, annotations, policies).
func (o *Observer) Record(ctx context.Context, pod *schema.Pod) error {
	m := o.find(pod.Ref)
	if m == nil {
		return nil
	}
	if err := o.configure(ctx, m, pod); err != nil {
		return fmt.Errorf("record pod %s: %w", pod.Ref, err)
	}
	return nil
}

// removePod ends the containers in order, powers the machine off and deletes it.
func (o *Observer) removePod(ctx context.Context, a reconcile.Action) (reconcile.Result, error) {
	clock := startWatch()
	m := o.find(a.Pod)
	if m == nil {
		return clock.result(), nil
	}
	o.mu.Lock()
	up := m.info.State != driver.StateStopped
	o.mu.Unlock()
	if up {
		// Whatever goes wrong in here does not stop the teardown: Delete is forceful.
		if err := o.shutdown(ctx, m, a.Grace); err != nil {
			o.log.Info("the pod did not end in order; it is ended by force", "pod", a.Pod.String(), "cause", err.Error())
		}
		clock.lap("stop")
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := m.handle.Delete(ctx); err != nil {
		return clock.result(), err
	}
	clock.lap("delete")
	o.mu.Lock()
	defer o.mu.Unlock()
	if m.stop != nil {
		m.stop()
	}
	delete(o.machines, m.handle.ID())
	return clock.result(), nil
}

func (o *Observer) shutdown(ctx context.Context, m *machine, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace+stopTimeout)
	defer cancel()
	_, err := agentpb.NewAgentClient(m.handle.Agent()).Shutdown(ctx, &agentpb.ShutdownRequest{Grace: durationpb.New(grace)})
	if err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return m.handle.Stop(ctx)
}

func (o *Observer) addEmptyDir(ctx context.Context, m *machine, agent agentpb.AgentClient, a reconcile.Action) (reconcile.Result, error) {
	dir := a.Spec.EmptyDir(a.Name)
	if dir == nil {
		return reconcile.Result{}, fmt.Errorf("the manifest declares no such emptyDir")
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	state, err := agent.AddEmptyDir(ctx, &agentpb.AddEmptyDirRequest{
		Name:           dir.Name,
		Digest:         dir.Digest(),
		Memory:         dir.Medium == schema.MediumMemory,
		SizeLimitBytes: dir.SizeLimitBytes,
	})
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, o.heard(m, state)
}

func (o *Observer) removeEmptyDir(ctx context.Context, m *machine, agent agentpb.AgentClient, a reconcile.Action) (reconcile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	state, err := agent.RemoveEmptyDir(ctx, &agentpb.RemoveEmptyDirRequest{Name: a.Name})
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, o.heard(m, state)
}

// addContainer brings the image into the VM and starts the container from it.
func (o *Observer) addContainer(ctx context.Context, m *machine, agent agentpb.AgentClient, a reconcile.Action) (reconcile.Result, error) {
	clock := startWatch()
	c := a.Spec.Container(a.Name)
	if c == nil {
		return clock.result(), fmt.Errorf("the manifest declares no such container")
	}
	img, err := o.images.Ensure(ctx, c.Image, a.Spec.Dir(), image.PullPolicy(c.ImagePullPolicy))
	clock.lap("image")
	if err != nil {
		return clock.result(), err
	}
	spec, err := containerSpec(a.Spec, c, img)
	if err != nil {
		return clock.result(), err
	}
	if img.TemplatePath != "" {
		err := m.handle.AttachDisk(ctx, driver.Disk{ID: img.DiskID, Path: img.TemplatePath, ReadOnly: true})
		clock.lap("attach")
		if err != nil {
			return clock.result(), fmt.Errorf("attach the image: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	answer, err := agent.AddContainer(ctx, &agentpb.AddContainerRequest{Container: spec})
	if err != nil {
		return clock.result(), err
	}
	for _, p := range answer.GetPhases() {
		clock.add(p.GetName(), p.GetTook().AsDuration())
	}
	return clock.result(), o.heard(m, answer.GetPod())
}

func (o *Observer) waitContainer(ctx context.Context, m *machine, agent agentpb.AgentClient, a reconcile.Action) (reconcile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := agent.WaitContainer(ctx, &agentpb.WaitContainerRequest{Name: a.Name})
	if err != nil {
		return reconcile.Result{}, err
	}
	code := int(answer.GetExitCode())
	return reconcile.Result{ExitCode: &code}, o.heard(m, answer.GetPod())
}

func (o *Observer) removeContainer(ctx context.Context, m *machine, agent agentpb.AgentClient, a reconcile.Action) (reconcile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, a.Grace+callTimeout)
	defer cancel()
	disk := o.diskOf(m, a.Name)
	answer, err := agent.RemoveContainer(ctx, &agentpb.RemoveContainerRequest{Name: a.Name, Grace: durationpb.New(a.Grace)})
	if err != nil {
		return reconcile.Result{}, err
	}
	var result reconcile.Result
	if answer.GetExisted() {
		code := int(answer.GetExitCode())
		result.ExitCode = &code
	}
	if err := o.heard(m, answer.GetPod()); err != nil {
		return result, err
	}
	if disk != "" && !o.diskUsed(m, disk) {
		// Best effort: a template left attached costs a little memory and nothing else.
		if err := m.handle.DetachDisk(ctx, disk); err != nil {
			o.log.Info("an image that is no longer used stays attached", "pod", a.Pod.String(), "cause", err.Error())
		}
	}
	return result, nil
}

func (o *Observer) diskOf(m *machine, container string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range m.pod.GetContainers() {
		if c.GetName() == container {
			return c.GetRootfsDisk()
		}
	}
	return ""
}

func (o *Observer) diskUsed(m *machine, disk string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range m.pod.GetContainers() {
		if c.GetRootfsDisk() == disk {
			return true
		}
	}
	return false
}

func (o *Observer) trim(ctx context.Context, m *machine, agent agentpb.AgentClient) (reconcile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, trimTimeout)
	defer cancel()
	answer, err := agent.Trim(ctx, &agentpb.TrimRequest{})
	if err != nil {
		return reconcile.Result{}, err
	}
	o.mu.Lock()
	m.trimmedAt = time.Now()
	o.mu.Unlock()
	result := reconcile.Result{TrimmedBytes: int64(min(answer.GetTrimmedBytes(), 1<<62))}
	if err := o.heard(m, answer.GetPod()); err != nil {
		return result, err
	}
	o.ask(ctx, m) // the host's side of it
	return result, nil
}
