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

// endLimit bounds how long a machine that was stopped may take to be gone.
const endLimit = 10 * time.Second

// vm is a running machine.
type vm struct {
	log  logr.Logger
	m    machine
	host host

	linkMu sync.Mutex
	link   net.Conn // the last one given out
	first  net.Conn // opened to see that the guest is there; to be given out before others

	disksMu sync.Mutex
	plugged map[string]driver.Disk // at run time

	mu      sync.Mutex
	killed  bool
	trouble string // see Trouble

	done chan struct{}
	err  error // valid once done is closed
}

var _ driver.VM = (*vm)(nil)

func newVM(m machine, h host, log logr.Logger) *vm {
	return &vm{log: log, m: m, host: h, plugged: make(map[string]driver.Disk), done: make(chan struct{})}
}

// start starts the machine and attends to it.
func (v *vm) start(ctx context.Context) error { return v.begin(ctx, "start the machine", v.m.start) }

// restore has the machine go on from a state that was saved, and attends to it.
func (v *vm) restore(ctx context.Context, path string) error {
	return v.begin(ctx, "restore the machine", func() error {
		if err := v.m.restore(path); err != nil {
			return err
		}
		err := ctx.Err() // once it was given up it must not run
		if err == nil {
			err = v.m.resume()
		}
		if err == nil {
			return nil
		}
		if stopErr := v.m.stop(); stopErr != nil {
			err = fmt.Errorf("%w: %w: %w", errStuck, stopErr, err)
		}
		return err
	})
}

// begin has the framework run the machine. Its calls cannot be cancelled: when ctx ends first
// the machine is ended as soon as it can be.
func (v *vm) begin(ctx context.Context, what string, run func() error) error {
	running := make(chan error, 1)
	go func() { running <- run() }()
	select {
	case err := <-running:
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	case <-ctx.Done():
		go func() {
			if <-running == nil {
				v.report(v.m.stop())
			}
		}()
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	go v.attend()
	return nil
}

// within has the framework do something that cannot be cancelled; it is waited for until ctx ends.
func within(ctx context.Context, what string, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
}

// attend waits for the machine's end.
func (v *vm) attend() {
	err := <-v.m.ended()
	v.mu.Lock()
	if v.killed && err == nil {
		err = errKilled
	}
	v.err = err
	v.mu.Unlock()
	close(v.done) // before linkMu is taken, which who waits for the guest has
	v.linkMu.Lock()
	defer v.linkMu.Unlock()
	for _, c := range []net.Conn{v.link, v.first} {
		if c != nil {
			_ = c.Close() // its other end is gone
		}
	}
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
	conn := v.first
	v.first = nil
	if conn == nil {
		var err error
		if conn, err = v.dial(ctx, LinkPort); err != nil {
			return nil, fmt.Errorf("open link: %w", err)
		}
	}
	v.link = conn
	return conn, nil
}

// dial connects to a port of the guest as soon as somebody listens there.
func (v *vm) dial(ctx context.Context, port uint32) (net.Conn, error) {
	tick := time.NewTicker(dialEvery)
	defer tick.Stop()
	for {
		conn, err := v.m.connect(port)
		if err == nil {
			return conn, nil
		}
		select {
		case <-tick.C:
		case <-v.done:
			return nil, errors.Join(driver.ErrNotRunning, v.err)
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// greet waits until the guest takes a connection, which the first Link then gets.
func (v *vm) greet(ctx context.Context) error {
	v.linkMu.Lock()
	defer v.linkMu.Unlock()
	conn, err := v.dial(ctx, LinkPort)
	if err != nil {
		return fmt.Errorf("wait for the guest: %w", err)
	}
	v.first = conn
	return nil
}

// tell has Trouble say what went wrong at the start.
func (v *vm) tell(trouble string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.trouble = trouble
}

// Trouble says what is wrong with a machine that runs, "" for nothing.
func (v *vm) Trouble() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.trouble
}

// end ends the machine and waits until it has.
func (v *vm) end() error {
	if err := v.Kill(); err != nil {
		return err
	}
	timer := time.NewTimer(endLimit)
	defer timer.Stop()
	select {
	case <-v.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("the machine did not end within %s of being stopped", endLimit)
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
