package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// World is where simulated machines live. It outlives drivers, like a host outlives
// reconcilers.
type World struct {
	opt   Options
	media media

	mu       sync.Mutex
	machines map[string]*state
	cards    uint32 // network cards given so far
}

// state is a machine's.
type state struct {
	mu        sync.Mutex // held while it is started or ended
	spec      driver.Spec
	faults    *Faults
	store     *store
	boot      *boot // nil: never booted
	startedAt time.Time
	gone      bool
}

// NewWorld makes a world without machines.
func NewWorld(opt Options) *World {
	return &World{opt: opt, machines: make(map[string]*state)}
}

// Kill ends a machine at once, as a crash of its VMM would; it can be started again.
func (w *World) Kill(id string) error {
	s := w.state(id)
	if s == nil {
		return fmt.Errorf("kill machine %s: %w", id, driver.ErrNotFound)
	}
	s.kill(errKilled)
	return nil
}

// Close ends every machine.
func (w *World) Close() error {
	w.mu.Lock()
	all := make([]*state, 0, len(w.machines))
	for _, s := range w.machines {
		all = append(all, s)
	}
	w.mu.Unlock()
	for _, s := range all {
		s.kill(errKilled)
	}
	return nil
}

func (w *World) state(id string) *state {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.machines[id]
}

// add makes room for a machine.
func (w *World) add(spec driver.Spec) (*state, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.machines[spec.ID] != nil {
		return nil, errors.New("it exists")
	}
	faults, err := faultsOf(spec, w.opt.Faults)
	if err != nil {
		return nil, err
	}
	if spec.Network.Enabled {
		spec.Network.Address = netip.PrefixFrom(addressOf(w.cards), networkBits)
		w.cards++
	}
	s := &state{spec: spec, faults: faults, store: newStore(spec.StoreBytes)}
	w.machines[spec.ID] = s
	return s, nil
}

// remove ends a machine for good. One whose Create fails may have been started by somebody who
// found it meanwhile.
func (w *World) remove(id string, s *state) {
	s.mu.Lock()
	s.gone = true
	b := s.boot
	s.mu.Unlock()
	if b != nil {
		b.end(errKilled)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.machines[id] == s {
		delete(w.machines, id)
	}
}

func (w *World) ids() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]string, 0, len(w.machines))
	for id := range w.machines {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// start boots a machine unless it runs.
func (w *World) start(ctx context.Context, s *state, op string) error {
	if err := s.faults.meet(ctx, op); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone:
		return driver.ErrNotFound
	case s.running():
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	s.boot = newBoot(uuid.NewString(), s.store, s.faults, s.spec, &w.media, w.opt.Log)
	s.boot.disks.fixed = w.opt.NoRuntimeDisks
	s.startedAt = time.Now()
	return nil
}

// running tells whether the machine runs. s.mu is held.
func (s *state) running() bool {
	if s.boot == nil {
		return false
	}
	select {
	case <-s.boot.done:
		return false
	default:
		return true
	}
}

// current is the running boot, nil when there is none.
func (s *state) current() *boot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		return nil
	}
	return s.boot
}

func (s *state) kill(why error) {
	if b := s.current(); b != nil {
		b.end(why)
	}
}

// The simulated machines' network.
const (
	networkBits = 16
	// addresses is how many there are for machines: not the network's own, the gateway's and
	// the broadcast address.
	addresses = 1<<(32-networkBits) - 3
)

func gateway() netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, 1}) }

// addressOf is the address of the n-th card: 10.99.0.2 and on, and again from the start when
// they are used up.
func addressOf(n uint32) netip.Addr {
	n = n%addresses + 2
	return netip.AddrFrom4([4]byte{10, 99, byte(n >> 8), byte(n)})
}

// macOf is the hardware address that goes with an address.
func macOf(a netip.Addr) string {
	b := a.As4()
	return net.HardwareAddr{0x02, 0x00, b[0], b[1], b[2], b[3]}.String()
}
