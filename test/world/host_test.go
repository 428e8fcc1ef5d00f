package world

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/sim"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// How a machine does not answer.
const (
	wedged   = "wedged"   // the machine runs; its agent says nothing
	refusing = "refusing" // nobody can tell whether it runs; calls fail at once
	stuck    = "stuck"    // nothing about it answers
)

// How machines cannot be listed.
const (
	listFails = "fails"
	listHangs = "hangs"
)

// trouble is what goes wrong with calls of one operation.
type trouble struct {
	op    string
	kind  string        // "error", "transient", "delay" or "hang"
	after bool          // the call takes effect, and then goes wrong
	hits  int           // how many calls; 0: all
	wait  time.Duration // of a delay
}

func (t trouble) String() string {
	text := t.kind
	if t.kind == "delay" {
		text += " of " + t.wait.String()
	}
	if t.after {
		text += " after it took effect"
	}
	if t.hits > 0 {
		text += fmt.Sprintf(", %d times", t.hits)
	}
	return text
}

// host is where machines live: it outlives reconcilers, and things go wrong on it.
type host struct {
	story  *story
	world  *sim.World
	faults *sim.Faults
	eyes   driver.Driver // sees what truly is
	// latency is how long a call takes to get here, and its answer to get back.
	latency time.Duration

	mu       sync.Mutex
	names    map[string]string // machines' pods
	silent   map[string]string // machines that do not answer, and how
	since    map[string]time.Time
	turned   chan struct{} // closed when something of the above or below changes
	streams  map[string]map[*context.CancelFunc]bool
	listing  string
	troubles []trouble
}

func newHost(s *story) (*host, error) {
	faults, err := sim.ParseFaults("")
	if err != nil {
		return nil, err
	}
	w := sim.NewWorld(sim.Options{Faults: faults, Log: logr.Discard()})
	return &host{
		story: s, world: w, faults: faults, eyes: sim.NewDriver(w),
		names: make(map[string]string), silent: make(map[string]string), since: make(map[string]time.Time),
		turned: make(chan struct{}), streams: make(map[string]map[*context.CancelFunc]bool),
	}, nil
}

func (h *host) close() error { return errors.Join(h.eyes.Close(), h.world.Close()) }

// turn changes how things are, and tells those who wait for that.
func (h *host) turn(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.turned)
	h.turned = make(chan struct{})
}

// silence makes a machine not answer; "" makes it answer again.
func (h *host) silence(id, how string) {
	h.turn(func() {
		if how == "" {
			delete(h.silent, id)
			delete(h.since, id)
			return
		}
		h.silent[id], h.since[id] = how, time.Now()
		if how == refusing {
			for cancel := range h.streams[id] {
				(*cancel)()
			}
		}
	})
}

// calm ends all that goes wrong.
func (h *host) calm() error {
	h.turn(func() {
		clear(h.silent)
		clear(h.since)
		h.listing, h.troubles = "", nil
	})
	for _, op := range sim.Operations() {
		if err := h.faults.Set(op, ""); err != nil {
			return err
		}
	}
	return nil
}

// until waits until is says so or ctx ends.
func (h *host) until(ctx context.Context, is func() bool) error {
	for {
		h.mu.Lock()
		ok, turned := is(), h.turned
		h.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take takes the trouble that a call meets.
func (h *host) take(op string, after bool) (trouble, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.troubles, func(t trouble) bool { return t.op == op && t.after == after })
	if i < 0 {
		return trouble{}, false
	}
	t := h.troubles[i]
	if t.hits == 1 {
		h.troubles = slices.Delete(slices.Clone(h.troubles), i, i+1)
	} else if t.hits > 1 {
		h.troubles[i].hits--
	}
	return t, true
}

// meet has a call meet its trouble.
func (h *host) meet(ctx context.Context, op string, after bool) error {
	if err := pause(ctx, h.latency); err != nil {
		return err
	}
	t, ok := h.take(op, after)
	if !ok {
		return nil
	}
	switch t.kind {
	case "error":
		return errors.New("it does not work")
	case "transient":
		return fmt.Errorf("not now: %w", driver.ErrTransient)
	case "delay":
		return pause(ctx, t.wait)
	case "hang":
		return h.until(ctx, func() bool { return len(h.troubles) == 0 })
	}
	return nil
}

// pause waits for a time, or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// how says how a machine does not answer.
func (h *host) how(id string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.silent[id]
}

// silentFor is how long a pod's machine has not answered that lives. One that has only just been
// started does not count: a look may be from before.
func (h *host) silentFor(ctx context.Context, pod string) time.Duration {
	h.mu.Lock()
	since := maps.Clone(h.since)
	h.mu.Unlock()
	if len(since) == 0 {
		return 0
	}
	all, err := h.eyes.Machines(ctx)
	if err != nil {
		return 0
	}
	var longest time.Duration
	for _, m := range all {
		at, silent := since[m.ID()]
		if !silent {
			continue
		}
		info, err := m.Info(ctx)
		if err == nil && info.Spec.Name == "default/"+pod && info.State != driver.StateStopped && time.Since(info.StartedAt) > time.Second {
			longest = max(longest, time.Since(at))
		}
	}
	return longest
}

// seen is a machine as it truly is.
type seen struct {
	id, pod string
	live    bool
	guest   *agentpb.PodState // nil when it says nothing
}

// look asks every machine, whatever is wrong with it.
func (h *host) look(ctx context.Context) ([]seen, error) {
	all, err := h.eyes.Machines(ctx)
	if err != nil {
		return nil, err
	}
	var list []seen
	for _, m := range all {
		info, err := m.Info(ctx)
		if errors.Is(err, driver.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		s := seen{id: m.ID(), pod: strings.TrimPrefix(info.Spec.Name, "default/"), live: info.State != driver.StateStopped}
		if info.State == driver.StateRunning {
			asking, cancel := context.WithTimeout(ctx, time.Millisecond)
			s.guest, err = agentpb.NewAgentClient(m.Agent()).Describe(asking, &agentpb.DescribeRequest{})
			cancel()
			if err != nil {
				s.guest = nil
			}
		}
		list = append(list, s)
	}
	return list, nil
}

// alone notes a machine that is about to boot beside another one of its pod.
func (h *host) alone(ctx context.Context, id, pod string) {
	all, err := h.look(ctx)
	if err != nil {
		return // the reconciler, whose context this is, has ended
	}
	for _, other := range all {
		if other.pod == pod && other.id != id && other.live {
			h.story.wrong(twoMachines, "pod %s gets a machine while another one of it lives", pod)
		}
	}
}

// machineOf is the machine of a pod, nil when it has none; the first when it has several.
func (h *host) machineOf(ctx context.Context, pod string) (driver.Machine, error) {
	all, err := h.eyes.Machines(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		info, err := m.Info(ctx)
		if err == nil && info.Spec.Name == "default/"+pod {
			return m, nil
		}
	}
	return nil, nil
}
