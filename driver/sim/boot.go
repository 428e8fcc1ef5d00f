package sim

import (
	"fmt"
	"net"
	"sync"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agent"
)

// agentVersion is what simulated agents report.
const agentVersion = "sim"

// boot is a simulated guest from power-on to power-off.
type boot struct {
	rt    *runtime
	agent *agent.Agent
	disks *disks

	life life
	once sync.Once
	// stopServing ends life, and what else serves the agent.
	stopServing func()
	done        chan struct{}
	err         error // valid once done is closed
}

// newBoot boots a guest on a store. Its agent can be called (direct); serve has it answer
// on a listener too.
func newBoot(id string, st *store, faults *Faults, spec driver.Spec, m *media, log logr.Logger) *boot {
	b := &boot{disks: newDisks(spec.Disks), done: make(chan struct{})}
	b.stopServing = b.life.end
	st.boot()
	b.rt = &runtime{
		boot: id, store: st, faults: faults, disks: b.disks, shares: spec.Shares, media: m, net: newNetwork(), off: b.end,
		gone: make(chan struct{}), containers: make(map[string]*container), volumes: make(map[string]directory),
	}
	b.agent = agent.New(b.rt, agent.Options{Version: agentVersion, Log: log, Dial: b.rt.net.dial})
	return b
}

// serve serves the agent on a listener until the guest's end.
func (b *boot) serve(server *grpc.Server, l net.Listener) {
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) }) // ends with Stop
	end := b.stopServing
	b.stopServing = func() {
		end()
		server.Stop()
		wg.Wait()
	}
}

// end ends the guest: nil is a power-off. It returns once nothing of it runs; only
// the first call's word counts.
func (b *boot) end(err error) {
	b.once.Do(func() {
		close(b.rt.gone)
		b.stopServing()
		b.rt.end()
		b.agent.Close()
		b.err = err
		close(b.done)
	})
	<-b.done
}

// disks are those attached to a machine.
type disks struct {
	fixed bool // no more are attached; see Options.NoRuntimeDisks

	mu sync.Mutex
	m  map[string]driver.Disk
}

func newDisks(at []driver.Disk) *disks {
	d := &disks{m: make(map[string]driver.Disk)}
	for _, disk := range at {
		d.m[disk.ID] = disk
	}
	return d
}

func (d *disks) get(id string) (driver.Disk, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	disk, ok := d.m[id]
	return disk, ok
}

func (d *disks) attach(disk driver.Disk) error {
	if d.fixed {
		return fmt.Errorf("attach disk %s: %w: no disk is attached to a running machine", disk.ID, driver.ErrUnsupported)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.m[disk.ID] = disk
	return nil
}

func (d *disks) detach(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.m, id)
}
