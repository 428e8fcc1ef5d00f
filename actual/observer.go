// Package actual sees what runs by asking every VM, and changes it one action at a
// time. It is the only place where pods meet machines and images.
package actual

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/ext4"
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
	// Claims keeps the disks of claims; nil where there can be none.
	Claims Claims
	// Format makes a file system of the image of an ephemeral volume; nil is ext4.Format.
	Format func(ctx context.Context, path string, size int64) error
	// FailureDir keeps what failed last, one file per pod; "" keeps it in memory only.
	FailureDir string
	// LookOnly: another process owns the state directory. Its failures are read, and
	// nothing is written.
	LookOnly bool
	Log      logr.Logger
}

// Limits on how long machines may keep us waiting.
const (
	// observeTimeout bounds asking one machine for its state; slower is Unknown.
	observeTimeout = 5 * time.Second
	// observeParallel is how many machines are asked at once.
	observeParallel = 128
	// listTimeout bounds listing the machines.
	listTimeout = 30 * time.Second
	// refreshTimeout bounds asking all of them; those not asked by then stay what they were.
	refreshTimeout = 2 * time.Minute
	// relistEvery is how often machines are listed anew while Run runs, so that
	// those made or deleted by other commands are seen.
	relistEvery = 15 * time.Second
	// relistAsks is how many of the machines whose events are followed are asked then.
	relistAsks = 256
)

var (
	errNoAnswer = fmt.Errorf("no answer within %s", observeTimeout)
	errNoList   = fmt.Errorf("no answer within %s", listTimeout)
)

// Observer is the actual state: a mirror of what the machines report, kept by
// asking each once and then following its event stream.
type Observer struct {
	driver   driver.Driver
	images   Images
	claims   Claims
	format   func(ctx context.Context, path string, size int64) error
	guest    driver.Guest
	failures *failures
	log      logr.Logger

	mu       sync.Mutex
	machines map[string]*machine // by id; nil until the first list
	made     madeFor             // those of machines that it is known of what they were made for
	tick     uint64              // grows with every list begun and every machine made or deleted
	hostIP   string              // see hostIP; as of the last list
	deleted  map[string]uint64   // machines deleted here, by id, with the tick: a list under way may still hold them
	shown    []*schema.PodStatus // the last answer of ofMachines; nil when it is to be made anew
	news     []*machine          // those that changed since
	wake     func()              // set while Run runs
	follow   func(*machine)      // starts following one machine while Run runs
}

// New returns an Observer that has seen nothing yet.
func New(d driver.Driver, images Images, opt Options) *Observer {
	if opt.Format == nil {
		opt.Format = ext4.Format
	}
	return &Observer{
		driver:   d,
		images:   images,
		claims:   opt.Claims,
		format:   opt.Format,
		guest:    opt.Guest,
		failures: newFailures(opt.FailureDir, opt.LookOnly, opt.Log),
		log:      opt.Log,
		deleted:  make(map[string]uint64),
		made:     make(madeFor),
		hostIP:   hostIP(),
	}
}

// Pods returns what the machines were last seen to run. The first call asks them;
// later ones rely on Run, which follows them, or on Refresh. What is returned shares
// parts with later answers and must not be changed.
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
func (o *Observer) Refresh(ctx context.Context) error { return o.refresh(ctx, 0, nil) }

// RefreshOf is Refresh for whoever wants to know of some pods: the VMs of others are not
// asked, so that one that hangs keeps nobody waiting, and are Unknown.
func (o *Observer) RefreshOf(ctx context.Context, wanted func(schema.Ref) bool) error {
	return o.refresh(ctx, 0, wanted)
}

// refresh is Refresh; with some > 0 it asks no more machines than that of those whose events
// are followed, and those of wanted pods only; nil wants all.
func (o *Observer) refresh(ctx context.Context, some int, wanted func(schema.Ref) bool) error {
	o.failures.reread()
	began := o.nextTick()
	handles, err := o.list(ctx)
	if err != nil {
		return fmt.Errorf("list machines: %w", err)
	}
	o.locate(hostIP())
	current := o.adopt(handles, began)
	if some > 0 {
		current = o.inTurn(current, some)
	}
	o.expire()
	asking, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(observeParallel)
	for _, m := range current {
		g.Go(func() error {
			o.askIf(asking, m, wanted)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("ask machines: %w", context.Cause(ctx))
	}
	return nil
}

// locate notes the host's address, which pods show.
func (o *Observer) locate(ip string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hostIP == ip {
		return
	}
	o.hostIP, o.shown = ip, nil
	for _, m := range o.machines {
		m.view = nil
	}
}

// inTurn leaves out machines that are heard at the moment, down to so many, which were asked
// the longest time ago.
func (o *Observer) inTurn(machines []*machine, some int) []*machine {
	o.mu.Lock()
	defer o.mu.Unlock()
	var asked, heard []*machine
	for _, m := range machines {
		if m.streaming && m.silent == nil {
			heard = append(heard, m)
		} else {
			asked = append(asked, m)
		}
	}
	if len(heard) > some {
		slices.SortFunc(heard, func(a, b *machine) int { return a.askedAt.Compare(b.askedAt) })
		heard = heard[:some]
	}
	return append(asked, heard...)
}

func (o *Observer) list(ctx context.Context) ([]driver.Machine, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, listTimeout, errNoList)
	defer cancel()
	handles, err := o.driver.Machines(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return handles, err
}

// expire forgets what failed long ago for pods that have no machine.
func (o *Observer) expire() {
	o.mu.Lock()
	defer o.mu.Unlock()
	old := o.failures.older(forgetAfter)
	for _, m := range o.machines {
		if m.made != nil {
			delete(old, m.made.Ref)
		}
	}
	for ref := range old {
		o.failures.clearPod(ref)
	}
}

func (o *Observer) nextTick() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tick++
	return o.tick
}

// adopt makes the mirror hold the listed machines, and those made since the list was
// begun; it returns them all.
func (o *Observer) adopt(handles []driver.Machine, began uint64) []*machine {
	o.mu.Lock()
	defer o.mu.Unlock()
	listed := make(map[string]*machine, len(handles))
	current := make([]*machine, 0, len(handles))
	for _, h := range handles {
		if o.deleted[h.ID()] > began {
			continue
		}
		m := o.machines[h.ID()]
		if m == nil {
			m = newMachine(h, began)
			o.shown = nil
		}
		listed[h.ID()] = m
		current = append(current, m)
	}
	gone := false
	for id, m := range o.machines {
		switch {
		case listed[id] != nil:
		case m.born > began:
			listed[id] = m
		default:
			o.leave(m)
			gone = true
		}
	}
	for id, at := range o.deleted {
		if at < began {
			delete(o.deleted, id)
		}
	}
	o.machines = listed
	if o.follow != nil {
		for _, m := range current {
			o.follow(m)
		}
	}
	if gone && o.wake != nil {
		o.wake()
	}
	return current
}

// find returns the machines of a pod, sorted by id: those made for it or, when there is
// none, those that nothing is known of but that they say so.
func (o *Observer) find(ref schema.Ref) []*machine {
	o.mu.Lock()
	defer o.mu.Unlock()
	found := slices.Clone(o.made[ref])
	if found == nil {
		for _, m := range o.machines {
			if m.made != nil {
				continue
			}
			if ref == m.own() {
				return []*machine{m}
			}
			if r, ok := m.claimed(); ok && r == ref {
				found = append(found, m)
			}
		}
	}
	slices.SortFunc(found, func(a, b *machine) int { return strings.Compare(a.handle.ID(), b.handle.ID()) })
	return found
}

// one returns the machine of a pod. driver.ErrNotFound: there is none.
func (o *Observer) one(ref schema.Ref) (*machine, error) {
	switch all := o.find(ref); len(all) {
	case 0:
		return nil, driver.ErrNotFound
	case 1:
		return all[0], nil
	default:
		return nil, fmt.Errorf("%d machines claim to be this pod; delete it to end them all", len(all))
	}
}

// Agent returns the guest agent of a pod. driver.ErrNotFound: there is no such pod.
func (o *Observer) Agent(ref schema.Ref) (agentpb.AgentClient, error) {
	m, err := o.one(ref)
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", ref, err)
	}
	return agentpb.NewAgentClient(m.handle.Agent()), nil
}
