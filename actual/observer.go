// Package actual sees what runs by asking every VM, and changes it one action at a
// time. It is the only place where pods meet machines and images.
package actual

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Images turns an image reference into a template disk.
type Images interface {
	Ensure(ctx context.Context, ref, baseDir string, pull image.PullPolicy) (*image.Image, error)
}

// Options configure an Observer.
type Options struct {
	// Guest is the bundle new machines boot.
	Guest driver.Guest
	// FailureDir keeps what failed last, one file per pod; "" keeps it in memory only.
	FailureDir string
	Log        logr.Logger
}

// Limits on how long one machine may keep us waiting.
const (
	// observeTimeout bounds asking one machine for its state; slower is Unknown.
	observeTimeout = 5 * time.Second
	// observeParallel is how many machines are asked at once.
	observeParallel = 32
	// relistEvery is how often machines are listed anew while Run runs, so that
	// those made or deleted by other commands are seen.
	relistEvery = 15 * time.Second
)

// Observer is the actual state: a mirror of what the machines report, kept by
// asking each once and then following its event stream.
type Observer struct {
	driver   driver.Driver
	images   Images
	guest    driver.Guest
	failures *failures
	log      logr.Logger

	mu       sync.Mutex
	machines map[string]*machine // by id; nil until the first list
	wake     func()              // set while Run runs
	follow   func(*machine)      // starts following one machine while Run runs
}

// machine is one machine and what it last said. Its fields are guarded by Observer.mu.
type machine struct {
	handle driver.Machine
	info   driver.Info
	// pod is the agent's last word in this life of the machine, nil when there is none.
	pod *agentpb.PodState
	// silent is why the agent cannot be heard at the moment, nil when it can.
	silent    error
	trimmedAt time.Time
	stop      context.CancelFunc // ends following it; nil when not followed
}

// New returns an Observer over the driver's machines.
func New(d driver.Driver, images Images, opt Options) *Observer {
	return &Observer{
		driver:   d,
		images:   images,
		guest:    opt.Guest,
		failures: newFailures(opt.FailureDir, opt.Log),
		log:      opt.Log,
	}
}

// Pods returns what the machines were last seen to run. The first call asks them;
// later ones rely on Run, which follows them, or on Refresh.
func (o *Observer) Pods(ctx context.Context) (schema.ActualState, error) {
	o.mu.Lock()
	seen := o.machines != nil
	o.mu.Unlock()
	if !seen {
		if err := o.Refresh(ctx); err != nil {
			return schema.ActualState{Reason: err.Error()}, err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return schema.ActualState{Known: true, Pods: o.statuses()}, nil
}

// Refresh lists the machines and asks each one, side by side. A machine that does
// not answer in time is Unknown; only a list that cannot be had is an error.
func (o *Observer) Refresh(ctx context.Context) error {
	handles, err := o.driver.Machines(ctx)
	if err != nil {
		return fmt.Errorf("list machines: %w", err)
	}
	current := o.adopt(handles)
	var g errgroup.Group
	g.SetLimit(observeParallel)
	for _, m := range current {
		g.Go(func() error {
			o.ask(ctx, m)
			return nil
		})
	}
	return g.Wait()
}

// adopt makes the mirror hold exactly the listed machines and returns them.
func (o *Observer) adopt(handles []driver.Machine) []*machine {
	o.mu.Lock()
	defer o.mu.Unlock()
	listed := make(map[string]*machine, len(handles))
	current := make([]*machine, 0, len(handles))
	for _, h := range handles {
		m := o.machines[h.ID()]
		if m == nil {
			m = &machine{handle: h, silent: errors.New("it was not asked yet")}
			m.info.State = driver.StateUnknown
		}
		listed[h.ID()] = m
		current = append(current, m)
	}
	for id, m := range o.machines {
		if listed[id] == nil && m.stop != nil {
			m.stop()
		}
	}
	o.machines = listed
	if o.follow != nil {
		for _, m := range current {
			o.follow(m)
		}
	}
	return current
}

// ask brings one machine's part of the mirror up to date.
func (o *Observer) ask(ctx context.Context, m *machine) {
	ctx, cancel := context.WithTimeoutCause(ctx, observeTimeout, errNoAnswer)
	defer cancel()
	info, err := m.handle.Info(ctx)
	if err != nil {
		o.hear(m, nil, nil, err)
		return
	}
	if info.State == driver.StateStopped {
		o.hear(m, &info, nil, nil)
		return
	}
	pod, err := agentpb.NewAgentClient(m.handle.Agent()).Describe(ctx, &agentpb.DescribeRequest{})
	if err == nil {
		err = checkState(pod)
	}
	o.hear(m, &info, pod, err)
}

var errNoAnswer = fmt.Errorf("no answer within %s", observeTimeout)

// hear notes what a machine said: info and pod where they are given, and silent as
// the reason why the agent was not heard (nil: it was, or the machine is stopped).
func (o *Observer) hear(m *machine, info *driver.Info, pod *agentpb.PodState, silent error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if info != nil {
		m.info = *info
		if info.State == driver.StateStopped {
			m.pod = nil
		}
	}
	m.silent = silent
	if pod != nil {
		m.accept(pod)
	}
	if o.wake != nil {
		o.wake()
	}
}

// accept takes a newer word of the agent; an older one of the same boot is dropped,
// as answers may overtake each other.
func (m *machine) accept(pod *agentpb.PodState) {
	if m.pod != nil && m.pod.GetBootId() == pod.GetBootId() && m.pod.GetRevision() > pod.GetRevision() {
		return
	}
	m.pod = pod
}

// find returns the machine of a pod, nil when there is none.
func (o *Observer) find(ref schema.Ref) *machine {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range o.machines {
		if r, ok := m.ref(); ok && r == ref {
			return m
		}
	}
	return nil
}

// Agent returns the guest agent of a pod. driver.ErrNotFound: there is no such pod.
func (o *Observer) Agent(ref schema.Ref) (agentpb.AgentClient, error) {
	m := o.find(ref)
	if m == nil {
		return nil, fmt.Errorf("pod %s: %w", ref, driver.ErrNotFound)
	}
	return agentpb.NewAgentClient(m.handle.Agent()), nil
}

// TemplatesInUse returns the disk ids of the image templates that machines may have attached.
func (o *Observer) TemplatesInUse() map[string]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	used := make(map[string]bool)
	for _, m := range o.machines {
		for _, c := range m.pod.GetContainers() {
			used[c.GetRootfsDisk()] = true
		}
	}
	return used
}
