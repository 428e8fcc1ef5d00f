package vz

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// dialEvery is how often a guest that does not listen yet is tried again.
const dialEvery = 20 * time.Millisecond

// vm is a running machine.
type vm struct {
	log  logr.Logger
	m    machine
	host host

	linkMu sync.Mutex
	link   net.Conn // the last one given out

	disksMu sync.Mutex
	plugged map[string]driver.Disk // at run time

	mu     sync.Mutex
	killed bool

	done chan struct{}
	err  error // valid once done is closed
}

var _ driver.VM = (*vm)(nil)

func newVM(m machine, h host, log logr.Logger) *vm {
	return &vm{log: log, m: m, host: h, plugged: make(map[string]driver.Disk), done: make(chan struct{})}
}

// start starts the machine and attends to it. The framework's start cannot be cancelled:
// when ctx ends first the machine is ended as soon as it can be.
func (v *vm) start(ctx context.Context) error {
	started := make(chan error, 1)
	go func() { started <- v.m.start() }()
	select {
	case err := <-started:
		if err != nil {
			return fmt.Errorf("start the machine: %w", err)
		}
	case <-ctx.Done():
		go func() {
			if <-started == nil {
				v.report(v.m.stop())
			}
		}()
		return fmt.Errorf("start the machine: %w", context.Cause(ctx))
	}
	go v.attend()
	return nil
}

// attend waits for the machine's end.
func (v *vm) attend() {
	err := <-v.m.ended()
	v.linkMu.Lock()
	if v.link != nil {
		_ = v.link.Close() // its other end is gone
	}
	v.linkMu.Unlock()
	v.mu.Lock()
	if v.killed && err == nil {
		err = errKilled
	}
	v.err = err
	v.mu.Unlock()
	close(v.done)
}

func (v *vm) report(err error) {
	if err != nil {
		v.log.Error(err, "machine not ended")
	}
}

// Link implements driver.VM: it waits until the guest takes the connection.
func (v *vm) Link(ctx context.Context) (net.Conn, error) {
	v.linkMu.Lock()
	defer v.linkMu.Unlock()
	if v.link != nil {
		_ = v.link.Close() // given up by the caller, who asks for another
		v.link = nil
	}
	tick := time.NewTicker(dialEvery)
	defer tick.Stop()
	for {
		conn, err := v.m.connect(LinkPort)
		if err == nil {
			v.link = conn
			return conn, nil
		}
		select {
		case <-tick.C:
		case <-v.done:
			return nil, fmt.Errorf("open link: %w", errors.Join(driver.ErrNotRunning, v.err))
		case <-ctx.Done():
			return nil, fmt.Errorf("open link: %w: %w", context.Cause(ctx), err)
		}
	}
}

// Accelerator implements driver.VM.
func (v *vm) Accelerator() string { return Name }

// PID implements driver.VM: the machine lives in this process.
func (v *vm) PID() int { return 0 }

// AttachDisk implements driver.VM.
func (v *vm) AttachDisk(_ context.Context, d driver.Disk) error {
	if v.host.major < macOSHotPlug {
		return fmt.Errorf("attach disk %s: %w: macOS %d attaches no disk to a running machine, %d and newer do",
			d.ID, driver.ErrUnsupported, v.host.major, macOSHotPlug)
	}
	v.disksMu.Lock()
	defer v.disksMu.Unlock()
	switch old, ok := v.plugged[d.ID]; {
	case ok && old == d:
		return nil
	case ok:
		return fmt.Errorf("attach disk %s: another one of this id is attached (%s)", d.ID, old.Path)
	}
	if err := v.m.plug(disk{id: d.ID, path: d.Path, readOnly: d.ReadOnly}); err != nil {
		return fmt.Errorf("attach disk %s: %w", d.ID, err)
	}
	v.plugged[d.ID] = d
	return nil
}

// DetachDisk implements driver.VM. Disks of boot time stay until the machine's end.
func (v *vm) DetachDisk(_ context.Context, id string) error {
	v.disksMu.Lock()
	defer v.disksMu.Unlock()
	if _, ok := v.plugged[id]; !ok {
		return nil
	}
	if err := v.m.unplug(id); err != nil {
		return fmt.Errorf("detach disk %s: %w", id, err)
	}
	delete(v.plugged, id)
	return nil
}

// Kill implements driver.VM.
func (v *vm) Kill() error {
	v.mu.Lock()
	v.killed = true
	v.mu.Unlock()
	select {
	case <-v.done:
		return nil
	default:
	}
	if err := v.m.stop(); err != nil {
		select {
		case <-v.done: // it ended by itself meanwhile
			return nil
		default:
			return fmt.Errorf("kill the machine: %w", err)
		}
	}
	return nil
}

// Done implements driver.VM.
func (v *vm) Done() <-chan struct{} { return v.done }

// Err implements driver.VM.
func (v *vm) Err() error { return v.err }
