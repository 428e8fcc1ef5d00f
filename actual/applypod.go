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
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// addPod boots the pod's machine (a dead one on the store it had) and tells the agent who it is.
func (o *Observer) addPod(ctx context.Context, a reconcile.Action) (reconcile.Result, error) {
	ctx, cancel := limit(ctx, bootTimeout)
	defer cancel()
	clock := startWatch()
	m, err := o.one(a.Pod)
	if err != nil && !errors.Is(err, driver.ErrNotFound) {
		return clock.result(), err
	}
	if m != nil && o.outgrown(m, a.Spec) {
		if err := o.deleteMachine(ctx, m); err != nil {
			return clock.result(), fmt.Errorf("delete the machine of another size: %w", err)
		}
		clock.lap("delete")
		m = nil
	}
	if m == nil {
		m, err = o.createMachine(ctx, a.Spec)
	} else {
		err = o.startMachine(ctx, m, a.Spec)
	}
	clock.lap("boot")
	if err != nil {
		return clock.result(), err
	}
	if err := o.configure(ctx, m, a.Spec); err != nil {
		if undo := o.undoBoot(ctx, m); undo != nil {
			err = fmt.Errorf("%w; %w", err, undo)
		}
		return clock.result(), err
	}
	clock.lap("configure")
	o.ask(ctx, m)
	return clock.result(), nil
}

// outgrown tells whether a machine that is dead, or was never set up, is of another size
// than the pod needs: nothing of it can be kept.
func (o *Observer) outgrown(m *machine, pod *schema.Pod) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	inUse := m.up() && m.pod.GetPod() != nil
	return m.made != nil && !inUse && m.made.VMDigest() != pod.VMDigest()
}

func (o *Observer) createMachine(ctx context.Context, pod *schema.Pod) (*machine, error) {
	record, err := json.Marshal(pod)
	if err != nil {
		return nil, fmt.Errorf("record the pod: %w", err)
	}
	network, err := machineNetwork(pod)
	if err != nil {
		return nil, err
	}
	shares, err := hostShares(pod)
	if err != nil {
		return nil, err
	}
	spec := driver.Spec{
		ID:          uuid.NewString(),
		Name:        pod.Ref.String(),
		CPUs:        pod.VM.CPUs,
		MemoryBytes: pod.VM.MemoryBytes,
		StoreBytes:  pod.VM.StoreBytes,
		Guest:       o.guest,
		Network:     network,
		Shares:      shares,
		Untrusted:   pod.VM.Untrusted,
		Annotations: map[string]string{annotationPod: string(record)},
	}
	// gofail: var podCreating struct{}
	handle, err := o.driver.Create(ctx, spec)
	if err != nil {
		o.dropHalfMade(spec.ID)
		return nil, err
	}
	// gofail: var podCreated struct{}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.machines == nil {
		o.machines = make(map[string]*machine)
	}
	m := o.machines[spec.ID] // a list may have met it while it booted
	if m == nil {
		o.tick++
		m = newMachine(handle, o.tick)
		o.machines[spec.ID] = m
		o.shown = nil
	}
	o.know(m, driver.Info{Spec: spec, State: driver.StateUnknown})
	if m.made != nil {
		m.share(pod)
	}
	o.booted(m)
	if o.follow != nil {
		o.follow(m)
	}
	return m, nil
}

// dropHalfMade forgets a machine that a list met while its boot failed.
func (o *Observer) dropHalfMade(id string) {
	o.mu.Lock()
	m := o.machines[id]
	o.mu.Unlock()
	if m != nil {
		o.forget(m)
	}
}

// startMachine boots a machine that has ended on what it had.
func (o *Observer) startMachine(ctx context.Context, m *machine, pod *schema.Pod) error {
	if _, err := hostShares(pod); err != nil {
		return err // what is shared went away meanwhile, and cannot be made again
	}
	// gofail: var podStarting struct{}
	err := m.handle.Start(ctx)
	// gofail: var podStarted struct{}
	o.mu.Lock()
	o.booted(m)
	o.mu.Unlock()
	if err != nil {
		o.ask(context.WithoutCancel(ctx), m) // a start that failed may have had effect: it is not known to be dead
	}
	return err
}

// undoBoot stops a machine that booted and could not be made a pod. It keeps the
// store: a restarted pod has data on it, and a new one is started again by the next round.
func (o *Observer) undoBoot(ctx context.Context, m *machine) error {
	ctx, cancel := limit(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	o.expectEnd(m)
	// gofail: var podUndoing struct{}
	err := m.handle.Stop(ctx)
	// gofail: var podUndone struct{}
	o.ask(context.WithoutCancel(ctx), m)
	if err != nil {
		return fmt.Errorf("stop the machine again: %w", err)
	}
	return nil
}

// expectEnd notes that the machine ends because it is told to.
func (o *Observer) expectEnd(m *machine) {
	o.mu.Lock()
	defer o.mu.Unlock()
	m.ending = true
}

// configure tells the agent which pod it is, and keeps the manifest with it.
func (o *Observer) configure(ctx context.Context, m *machine, pod *schema.Pod) error {
	manifest, err := json.Marshal(pod)
	if err != nil {
		return fmt.Errorf("record the pod: %w", err)
	}
	ctx, cancel := limit(ctx, callTimeout)
	defer cancel()
	info, err := m.handle.Info(ctx)
	if err != nil {
		return fmt.Errorf("configure the pod: %w", err)
	}
	o.mu.Lock()
	m.info.Spec = info.Spec // with what the driver gave it
	o.outdate(m)
	o.mu.Unlock()
	req := &agentpb.ConfigureRequest{
		Pod: &agentpb.PodIdentity{
			Uid:       m.handle.ID(),
			Namespace: pod.Namespace,
			Name:      pod.Name,
			Source:    pod.Source,
			VmDigest:  pod.VMDigest(),
			Manifest:  manifest,
		},
		Hostname:       hostname(pod),
		Network:        networkConfig(pod, info),
		ShareProcesses: pod.Security.ShareProcesses,
		HostPid:        pod.Security.HostPID,
		FsGroup:        pod.Security.FSGroup,
		Grace:          seconds(pod.GraceSeconds),
	}
	for _, s := range pod.Security.Sysctls {
		req.Sysctls = append(req.Sysctls, &agentpb.Sysctl{Name: s.Name, Value: s.Value})
	}
	// gofail: var podConfiguring struct{}
	state, err := agentpb.NewAgentClient(m.handle.Agent()).Configure(ctx, req)
	if err != nil {
		return fmt.Errorf("configure the pod: %w", fromAgent(ctx, err))
	}
	// gofail: var podConfigured struct{}
	return o.heard(m, state)
}

// Record keeps the pod's manifest with its VM when it differs from what is there
// in ways that need no action (labels, annotations, policies).
func (o *Observer) Record(ctx context.Context, pod *schema.Pod) error {
	m, err := o.one(pod.Ref)
	if errors.Is(err, driver.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = o.configure(ctx, m, pod)
	}
	if err != nil {
		return fmt.Errorf("record pod %s: %w", pod.Ref, err)
	}
	return nil
}

// removePod ends the containers in order, powers the machine off and deletes it. When
// several machines claim to be the pod, all of them go.
func (o *Observer) removePod(ctx context.Context, a reconcile.Action) (reconcile.Result, error) {
	clock := startWatch()
	for _, m := range o.find(a.Pod) {
		if err := o.removeMachine(ctx, m, a, clock); err != nil {
			return clock.result(), err
		}
	}
	return clock.result(), nil
}

func (o *Observer) removeMachine(ctx context.Context, m *machine, a reconcile.Action, clock *stopwatch) error {
	o.expectEnd(m)
	if o.answers(ctx, m) {
		// Whatever goes wrong in here does not stop the teardown: Delete is forceful.
		if err := o.shutdown(ctx, m, graceOf(a)); err != nil {
			o.log.Info("the pod did not end in order; it is ended by force", "pod", a.Pod.String(), "cause", err.Error())
		}
		clock.lap("stop")
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	// A grace that used up the caller's time is no reason to leave the machine behind.
	err := o.deleteMachine(context.WithoutCancel(ctx), m)
	clock.lap("delete")
	return err
}

// answers tells whether a machine's agent can be asked to end in order; one that was
// silent gets a last chance, and not the whole grace.
func (o *Observer) answers(ctx context.Context, m *machine) bool {
	o.mu.Lock()
	silent := m.silent != nil
	o.mu.Unlock()
	if silent {
		o.ask(ctx, m)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return m.info.State != driver.StateStopped && m.silent == nil
}

func (o *Observer) deleteMachine(ctx context.Context, m *machine) error {
	ctx, cancel := limit(ctx, stopTimeout)
	defer cancel()
	o.expectEnd(m)
	// gofail: var podDeleting struct{}
	if err := m.handle.Delete(ctx); err != nil {
		return err
	}
	// gofail: var podDeleted struct{}
	o.forget(m)
	return nil
}

func (o *Observer) shutdown(ctx context.Context, m *machine, grace time.Duration) error {
	ctx, cancel := limit(ctx, grace+stopTimeout)
	defer cancel()
	// gofail: var podShuttingDown struct{}
	_, err := agentpb.NewAgentClient(m.handle.Agent()).Shutdown(ctx, &agentpb.ShutdownRequest{Grace: durationpb.New(grace)})
	if err != nil {
		return fmt.Errorf("shut down: %w", fromAgent(ctx, err))
	}
	// gofail: var podShutDown struct{}
	return m.handle.Stop(ctx)
}
