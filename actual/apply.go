package actual

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	// maxGrace is the longest grace an agent takes.
	maxGrace = time.Hour
)

// limit bounds a call; its cause says so in words.
func limit(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("no answer within %s", d))
}

// graceOf is the action's grace within what agents take.
func graceOf(a reconcile.Action) time.Duration { return min(max(a.Grace, 0), maxGrace) }

// Apply carries out one action; see reconcile.Actual. A failure that is not the
// caller's own cancellation is remembered until the same object succeeds.
func (o *Observer) Apply(ctx context.Context, a reconcile.Action) (reconcile.Result, error) {
	result, err := o.apply(ctx, a)
	switch {
	case err == nil && a.Type == reconcile.Remove && a.Kind == reconcile.KindPod:
		o.failures.clearPod(a.Pod)
	case err == nil && a.Type == reconcile.Trim:
		o.failures.clearTrims(a.Pod)
	case err == nil && a.Kind == reconcile.KindPod:
		// A machine that boots and dies again and again must back off: what failed is
		// forgotten once it has been up for restartReset.
	case err == nil:
		o.failures.clear(a.Pod, string(a.Kind), a.Name)
	case errors.Is(ctx.Err(), context.Canceled):
	default:
		o.failures.add(a.Pod, a.Spec, failureOf(a, err))
	}
	if err != nil {
		return result, fmt.Errorf("%s: %w", a, err)
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
	m, err := o.one(a.Pod)
	if err != nil {
		return reconcile.Result{}, err
	}
	agent := agentpb.NewAgentClient(m.handle.Agent())
	switch {
	case a.Type == reconcile.Add && a.Kind == reconcile.KindEmptyDir:
		return o.addEmptyDir(ctx, m, agent, a)
	case a.Type == reconcile.Remove && a.Kind == reconcile.KindEmptyDir:
		return o.removeEmptyDir(ctx, m, agent, a)
	case a.Type == reconcile.Add && a.Kind == reconcile.KindVolume:
		return o.addVolume(ctx, m, agent, a)
	case a.Type == reconcile.Remove && a.Kind == reconcile.KindVolume:
		return o.removeVolume(ctx, m, agent, a)
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

func (o *Observer) addEmptyDir(ctx context.Context, m *machine, agent agentpb.AgentClient, a reconcile.Action) (reconcile.Result, error) {
	dir := a.Spec.EmptyDir(a.Name)
	if dir == nil {
		return reconcile.Result{}, fmt.Errorf("the manifest declares no such emptyDir")
	}
	ctx, cancel := limit(ctx, callTimeout)
	defer cancel()
	// gofail: var emptyDirAdding struct{}
	state, err := agent.AddEmptyDir(ctx, &agentpb.AddEmptyDirRequest{
		Name:           dir.Name,
		Digest:         dir.Digest(),
		Memory:         dir.Medium == schema.MediumMemory,
		SizeLimitBytes: dir.SizeLimitBytes,
	})
	if err != nil {
		return reconcile.Result{}, fromAgent(ctx, err)
	}
	// gofail: var emptyDirAdded struct{}
	return reconcile.Result{}, o.heard(m, state)
}

func (o *Observer) removeEmptyDir(ctx context.Context, m *machine, agent agentpb.AgentClient, a reconcile.Action) (reconcile.Result, error) {
	ctx, cancel := limit(ctx, callTimeout)
	defer cancel()
	// gofail: var emptyDirRemoving struct{}
	state, err := agent.RemoveEmptyDir(ctx, &agentpb.RemoveEmptyDirRequest{Name: a.Name})
	if err != nil {
		return reconcile.Result{}, fromAgent(ctx, err)
	}
	// gofail: var emptyDirRemoved struct{}
	return reconcile.Result{}, o.heard(m, state)
}

// addContainer brings the image into the VM and starts the container from it.
func (o *Observer) addContainer(ctx context.Context, m *machine, agent agentpb.AgentClient, a reconcile.Action) (reconcile.Result, error) {
	clock := startWatch()
	on, err := o.startContainer(ctx, m, agent, a, clock)
	o.letGoLeft(context.WithoutCancel(ctx), m, a, on, clock)
	return clock.result(), err
}

// startContainer says which disk the container is on or, where the answer is lost, may be on.
func (o *Observer) startContainer(ctx context.Context, m *machine, agent agentpb.AgentClient, a reconcile.Action, clock *stopwatch) (on string, err error) {
	c := a.Spec.Container(a.Name)
	if c == nil {
		return "", fmt.Errorf("the manifest declares no such container")
	}
	img, err := o.images.Ensure(ctx, c.Image, a.Spec.Dir(), image.PullPolicy(c.ImagePullPolicy))
	clock.lap("image")
	if err != nil {
		return "", err
	}
	facts := o.factsOf(m)
	spec, err := containerSpec(a.Spec, c, img, facts)
	if err != nil {
		return "", err
	}
	if img.TemplatePath != "" {
		// gofail: var containerAttaching struct{}
		disk := driver.Disk{ID: img.DiskID, Path: img.TemplatePath, ReadOnly: true}
		if err := o.bringImage(ctx, m, agent, disk, clock); err != nil {
			return "", err
		}
	}
	ctx, cancel := limit(ctx, startTimeout)
	defer cancel()
	// gofail: var containerAdding struct{}
	answer, err := agent.AddContainer(ctx, &agentpb.AddContainerRequest{Container: spec})
	if err != nil {
		return img.DiskID, withhold(fromAgent(ctx, err), c, facts)
	}
	// gofail: var containerAdded struct{}
	for _, p := range answer.GetPhases() {
		clock.add(p.GetName(), p.GetTook().AsDuration())
	}
	return img.DiskID, o.heard(m, answer.GetPod())
}

func (o *Observer) waitContainer(ctx context.Context, m *machine, agent agentpb.AgentClient, a reconcile.Action) (reconcile.Result, error) {
	ctx, cancel := limit(ctx, callTimeout)
	defer cancel()
	// gofail: var containerWaiting struct{}
	answer, err := agent.WaitContainer(ctx, &agentpb.WaitContainerRequest{Name: a.Name})
	if err != nil {
		return reconcile.Result{}, fromAgent(ctx, err)
	}
	code := int(answer.GetExitCode())
	// gofail: var containerWaited struct{}
	return reconcile.Result{ExitCode: &code}, o.heard(m, answer.GetPod())
}

func (o *Observer) removeContainer(ctx context.Context, m *machine, agent agentpb.AgentClient, a reconcile.Action) (reconcile.Result, error) {
	grace := graceOf(a)
	ctx, cancel := limit(ctx, grace+callTimeout)
	defer cancel()
	disk := o.diskOfContainer(m, a.Name)
	// gofail: var containerRemoving struct{}
	answer, err := agent.RemoveContainer(ctx, &agentpb.RemoveContainerRequest{Name: a.Name, Grace: durationpb.New(grace)})
	if err != nil {
		return reconcile.Result{}, fromAgent(ctx, err)
	}
	// gofail: var containerRemoved struct{}
	var result reconcile.Result
	if answer.GetExisted() {
		code := int(answer.GetExitCode())
		result.ExitCode = &code
	}
	if err := o.heard(m, answer.GetPod()); err != nil {
		return result, err
	}
	if a.Replacing {
		o.mu.Lock()
		if m.left == nil {
			m.left = make(map[string]string)
		}
		m.left[a.Name] = disk
		o.mu.Unlock()
		return result, nil
	}
	o.letGo(ctx, m, disk)
	return result, nil
}

func (o *Observer) trim(ctx context.Context, m *machine, agent agentpb.AgentClient) (reconcile.Result, error) {
	ctx, cancel := limit(ctx, trimTimeout)
	defer cancel()
	// gofail: var podTrimming struct{}
	answer, err := agent.Trim(ctx, &agentpb.TrimRequest{})
	if err != nil {
		return reconcile.Result{}, fromAgent(ctx, err)
	}
	// gofail: var podTrimmed struct{}
	o.mu.Lock()
	m.trimmedAt = time.Now()
	o.outdate(m)
	o.mu.Unlock()
	result := reconcile.Result{TrimmedBytes: int64(min(answer.GetTrimmedBytes(), 1<<62))}
	if err := o.heard(m, answer.GetPod()); err != nil {
		return result, err
	}
	o.ask(ctx, m) // the host's side of it
	return result, nil
}
