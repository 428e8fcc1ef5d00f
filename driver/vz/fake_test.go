package vz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/sim"
	"github.com/firkin-dev/firkin-reconcile/network"
)

// fake stands in for the framework: its machines are simulated guests.
type fake struct {
	mac host
	log logr.Logger
	// watch is moved on by what machines do; nil where nobody looks at it.
	watch *watch
	// notes are what machines were asked; nil where nobody looks at them.
	notes *notes
	// fail makes a call of machines ("save", "restore") fail.
	fail map[string]error
	// boots and restores are how long that takes on the watch.
	boots, restores time.Duration
}

// watch is a clock that stands still unless it is moved.
type watch struct {
	mu  sync.Mutex
	now time.Time
}

func (w *watch) read() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *watch) move(d time.Duration) {
	if w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.now = w.now.Add(d)
	}
}

// notes are the calls that machines got, in order.
type notes struct {
	mu       sync.Mutex
	list     []string
	machines []*fakeMachine
}

func (n *notes) add(call string) {
	if n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.list = append(n.list, call)
	}
}

// take returns the notes so far and forgets them.
func (n *notes) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	return list
}

// mac is a Mac as there are many.
func mac() host {
	return host{minCPUs: 1, maxCPUs: 10, minMemory: 128 << 20, maxMemory: 16 << 30, major: macOSHotPlug, build: "24A335", saves: true}
}

func (f fake) host() (host, error) { return f.mac, nil }

// errBadKernel is what the framework says of a kernel it cannot load.
var errBadKernel = errors.New("kernel cannot be loaded")

func (f fake) create(c config) (machine, error) {
	if strings.HasSuffix(c.kernel, ".missing") {
		return nil, errBadKernel
	}
	m := &fakeMachine{fake: f, config: c, end: make(chan error, 1)}
	if n := f.notes; n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.machines = append(n.machines, m)
	}
	return m, nil
}

func (f fake) newIdentifier() ([]byte, error) { return []byte(uuid.NewString()), nil }

type fakeMachine struct {
	fake
	config config
	guest  driver.VM
	paused bool
	copied bool // it goes on from a state that was saved
	end    chan error
}

func (m *fakeMachine) start() error {
	m.notes.add("start")
	m.watch.move(m.boots)
	return m.run()
}

// run has a guest run, booted or not: a simulated one cannot tell.
func (m *fakeMachine) run() error {
	spec := driver.Spec{StoreBytes: 64 << 20}
	for _, d := range m.config.disks[1:] {
		spec.Disks = append(spec.Disks, driver.Disk{ID: d.id, Path: d.path, ReadOnly: d.readOnly})
	}
	guest, err := sim.NewVMM(sim.Options{Log: m.log}).Start(context.Background(), spec, filepath.Dir(m.config.console), nil)
	if err != nil {
		return err
	}
	m.guest = guest
	go func() {
		<-guest.Done()
		m.end <- guest.Err()
	}()
	return nil
}

func (m *fakeMachine) savable() error { return m.fail["savable"] }

func (m *fakeMachine) pause() error {
	m.notes.add("pause")
	m.paused = true
	return m.fail["pause"]
}

func (m *fakeMachine) resume() error {
	m.notes.add("resume")
	m.paused = false
	return m.fail["resume"]
}

// saved is what must be the same of a machine that is saved and of one that is restored: the
// framework says "invalid argument" otherwise.
type saved struct {
	Identifier, CommandLine string
	CPUs                    uint
	Memory                  uint64
	Disks                   []savedDisk
	Card                    bool
	MAC                     network.MAC
	Shares                  int
	HotPlug                 bool
}

type savedDisk struct {
	ID       string
	Bytes    int64
	ReadOnly bool
}

func (m *fakeMachine) state() (saved, error) {
	c := m.config
	s := saved{
		Identifier: string(c.identifier), CommandLine: c.commandLine, CPUs: c.cpus, Memory: c.memory,
		Card: c.card != nil, MAC: c.mac, Shares: len(c.shares), HotPlug: c.hotPlug,
	}
	for _, d := range c.disks {
		info, err := os.Stat(d.path)
		if err != nil {
			return saved{}, err
		}
		s.Disks = append(s.Disks, savedDisk{ID: d.id, Bytes: info.Size(), ReadOnly: d.readOnly})
	}
	return s, nil
}

var (
	errNotPaused = errors.New("invalid virtual machine state")
	errNotEqual  = errors.New("invalid argument")
)

func (m *fakeMachine) save(path string) error {
	m.notes.add("save")
	if err := m.fail["save"]; err != nil {
		return err
	}
	if !m.paused {
		return errNotPaused
	}
	s, err := m.state()
	if err != nil {
		return err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

func (m *fakeMachine) restore(path string) error {
	m.notes.add("restore")
	m.watch.move(m.restores)
	if err := m.fail["restore"]; err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var was saved
	if err := json.Unmarshal(b, &was); err != nil {
		return err
	}
	is, err := m.state()
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(was, is) {
		return fmt.Errorf("%w: saved %+v, restored %+v", errNotEqual, was, is)
	}
	m.paused, m.copied = true, true
	return m.run()
}

func (m *fakeMachine) stop() error {
	if err := m.fail["stop"]; err != nil {
		return err
	}
	return m.guest.Kill()
}

func (m *fakeMachine) connect(port uint32) (net.Conn, error) {
	if port != LinkPort || m.paused {
		return nil, fmt.Errorf("connection to port %d was reset", port)
	}
	return m.guest.Link(context.Background())
}

func (m *fakeMachine) listen(uint32) (net.Listener, error) {
	return nil, fmt.Errorf("a simulated guest connects to no port: %w", errors.ErrUnsupported)
}

func (m *fakeMachine) plug(d disk) error {
	return m.guest.AttachDisk(context.Background(), driver.Disk{ID: d.id, Path: d.path, ReadOnly: d.readOnly})
}

func (m *fakeMachine) unplug(id string) error { return m.guest.DetachDisk(context.Background(), id) }

func (m *fakeMachine) ended() <-chan error { return m.end }
