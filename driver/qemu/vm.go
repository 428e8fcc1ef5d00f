package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/unixsock"
)

// Names of the files in a machine's directory.
const (
	linkSocket = "link.sock"
	storeFile  = "store.img"
)

const (
	// resumeEvery is how often a machine that stopped for want of host disk space is tried again.
	resumeEvery = 2 * time.Second
	// tellFullEvery is how often a machine that stays stopped is logged: each try stops it anew.
	tellFullEvery = 5 * time.Minute
)

// vm is one QEMU process.
type vm struct {
	log     logr.Logger
	accel   string
	socket  string // path of the link's socket
	process *process
	monitor *monitor

	shares *shareServer // nil when there is none

	linkMu sync.Mutex
	link   net.Conn // the last one given out
	pinned string   // the link's socket when its path is deleted
	unpin  func()

	disksMu sync.Mutex
	disks   map[string]*attachment // by disk id
	lastSet int                    // the last number given to an fd set

	mu       sync.Mutex
	deleted  map[string]chan struct{} // awaited DEVICE_DELETED events by device
	shutdown string                   // reason of the SHUTDOWN event, "" before it
	killed   bool
	opened   *happening // the guest has opened the link's port
	boots    int        // how often the guest has reset the machine to boot it anew
	final    bool       // the next reset ends the machine, or is about to
	migrated *happening // QEMU has written or read the machine's state
	trouble  string     // see Trouble
	full     bool       // stopped for want of disk space, not resumed since
	toldFull time.Time  // when that was last logged
	broken   string     // which disk's file failed first, and how; "" while none has

	done chan struct{}
	err  error // valid once done is closed
}

var _ driver.VM = (*vm)(nil)

// launch starts QEMU, greets it and plugs in the disks.
func launch(ctx context.Context, facts Facts, spec driver.Spec, dir string, from origin, log logr.Logger) (_ *vm, err error) {
	v := &vm{
		log:      log,
		shares:   from.shareServer,
		accel:    facts.Accelerator,
		socket:   filepath.Join(dir, linkSocket),
		disks:    make(map[string]*attachment),
		deleted:  make(map[string]chan struct{}),
		opened:   newHappening(),
		migrated: newHappening(),
		final:    onReset(from) == resetEnds,
		done:     make(chan struct{}),
	}
	v.process, err = spawn(facts, spec, dir, v.socket, from, log)
	if err != nil {
		return nil, err
	}
	v.pinned, v.unpin, err = unixsock.Pin(v.socket)
	if err != nil {
		log.Error(err, "the machine's link hangs on its socket's name")
		v.pinned, v.unpin = v.socket, func() {}
	}
	m, err := newMonitor(ctx, v.process.qmp, v.event)
	v.mu.Lock()
	v.monitor = m
	v.mu.Unlock()
	go v.attend()
	if err != nil {
		return nil, errors.Join(err, v.abandon())
	}
	if err := v.prepare(ctx, spec, dir, from); err != nil {
		return nil, errors.Join(err, v.abandon())
	}
	return v, nil
}

// prepare gives a started QEMU the machine's state, if it goes on from one, and its disks.
func (v *vm) prepare(ctx context.Context, spec driver.Spec, dir string, from origin) error {
	if from.prototype() {
		return nil
	}
	if from.state != nil {
		if err := v.restore(ctx, from.state); err != nil {
			return err
		}
	}
	for _, d := range append([]driver.Disk{{ID: driver.StoreDisk, Path: filepath.Join(dir, storeFile)}}, spec.Disks...) {
		if err := v.AttachDisk(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// abandonAfter is how long a QEMU that is failing may take to say why.
const abandonAfter = time.Second

// abandon ends a machine that failed to start. A QEMU that ended by itself gets to say why.
func (v *vm) abandon() error {
	select {
	case <-v.done:
		return v.err
	case <-time.After(abandonAfter):
	}
	err := v.Kill()
	<-v.done
	return err
}

// attend waits for the process to end and resumes it where a full disk stopped it.
func (v *vm) attend() {
	defer close(v.done)
	tick := time.NewTicker(resumeEvery)
	defer tick.Stop()
	var sharesEnded <-chan struct{}
	if v.shares != nil {
		defer v.shares.stop() // before the machine counts as ended
		sharesEnded = v.shares.ended()
	}
	var sharesLost <-chan time.Time
	for {
		select {
		case <-sharesEnded: // the machine may be just ending, too
			sharesEnded, sharesLost = nil, time.After(shareServerPatience)
		case <-sharesLost:
			v.loseShares()
		case <-tick.C:
			v.resume()
		case <-v.process.done:
			if v.monitor != nil {
				v.monitor.close()
			}
			v.err = v.verdict()
			_ = os.Remove(v.socket)
			v.linkMu.Lock()
			v.unpin()
			v.pinned = v.socket
			v.linkMu.Unlock()
			return
		}
	}
}

// loseShares notes that the server of the machine's shares has ended.
func (v *vm) loseShares() {
	err := v.shares.complaint()
	v.log.Error(err, "the machine's hostPath volumes are out of reach until it is started anew")
	v.mu.Lock()
	defer v.mu.Unlock()
	v.trouble = fmt.Sprintf("its hostPath volumes are out of reach: %v", err)
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

// verdict says how the machine ended; nil means that the guest powered it off.
func (v *vm) verdict() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.killed:
		return errors.New("it was ended by force")
	case v.shutdown == "guest-shutdown":
		return nil
	case v.shutdown == "guest-reset":
		return errors.New(v.why("the guest reset itself (a kernel panic, or its init ended): see its console log"))
	case v.process.err != nil:
		return fmt.Errorf("qemu %w%s", v.process.err, v.process.complaint())
	case v.shutdown != "":
		return fmt.Errorf("qemu ended: %s", v.shutdown)
	default:
		return fmt.Errorf("qemu ended%s", v.process.complaint())
	}
}

// event notes what QEMU says. It runs on the monitor's reader and must not block.
func (v *vm) event(e event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch e.Name {
	case "SHUTDOWN":
		var data struct{ Reason string }
		if json.Unmarshal(e.Data, &data) == nil {
			v.shutdown = data.Reason
		}
	case "DEVICE_DELETED":
		var data struct{ Device string }
		if json.Unmarshal(e.Data, &data) == nil {
			if gone, ok := v.deleted[data.Device]; ok {
				close(gone)
				delete(v.deleted, data.Device)
			}
		}
	case "BLOCK_IO_ERROR":
		v.diskFailed(e.Data)
	case "RESUME":
		v.full = false
	case "VSERPORT_CHANGE":
		var data struct {
			ID   string
			Open bool
		}
		if json.Unmarshal(e.Data, &data) == nil && data.ID == linkDevice && data.Open {
			v.opened.raise(nil)
			v.endAtReset()
		}
	case "RESET":
		var data struct{ Guest bool }
		if json.Unmarshal(e.Data, &data) == nil && data.Guest {
			v.rebooted()
		}
	case "MIGRATION":
		var data struct{ Status string }
		if json.Unmarshal(e.Data, &data) == nil {
			v.migration(data.Status)
		}
	}
}

// mostResets is how often a machine may boot anew before its guest has opened the link: one
// that finds that it booted badly does so (pid1.CheckTimer), and one that panics does, too.
const mostResets = 4

// rebooted counts a reset; mu is held.
func (v *vm) rebooted() {
	v.boots++
	v.log.Info("the guest booted badly and boots anew: see its console log", "time", v.boots)
	if v.boots >= mostResets {
		v.endAtReset()
	}
}

// endAtReset has the next reset end the machine; mu is held.
func (v *vm) endAtReset() {
	m := v.monitor
	if v.final || m == nil {
		return
	}
	v.final = true
	go func() { // ends with the command, which has a deadline
		err := m.run(context.Background(), "set-action", map[string]string{"reboot": resetEnds}, nil)
		if err != nil && !errors.Is(err, errMonitorClosed) {
			v.log.Error(err, "a guest that panics boots anew instead of ending its machine")
		}
	}()
}

// resume lets a machine that a full disk stopped try again; nothing is lost by trying.
func (v *vm) resume() {
	v.mu.Lock()
	full := v.full
	v.mu.Unlock()
	if !full {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), resumeEvery)
	defer cancel()
	if err := v.monitor.run(ctx, "cont", nil, nil); err != nil {
		v.log.V(1).Info("resume", "cause", err.Error())
	}
}

// await returns a channel that is closed when QEMU has deleted the device.
func (v *vm) await(device string) <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	gone := make(chan struct{})
	v.deleted[device] = gone
	return gone
}

func (v *vm) forget(device string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.deleted, device)
}

// Link implements driver.VM. QEMU takes the next connection once the one before is closed.
func (v *vm) Link(ctx context.Context) (net.Conn, error) {
	v.linkMu.Lock()
	defer v.linkMu.Unlock()
	if v.link != nil {
		_ = v.link.Close()
	}
	conn, err := unixsock.Dial(ctx, v.socket)
	if errors.Is(err, fs.ErrNotExist) {
		conn, err = unixsock.Dial(ctx, v.pinned)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the guest's link: %w", err)
	}
	v.link = conn
	return conn, nil
}

// Accelerator implements driver.VM.
func (v *vm) Accelerator() string { return v.accel }

// PID implements driver.VM.
func (v *vm) PID() int { return v.process.pid }

// Kill implements driver.VM.
func (v *vm) Kill() error {
	v.mu.Lock()
	v.killed = true
	v.mu.Unlock()
	if err := v.process.kill(); err != nil {
		return fmt.Errorf("kill qemu: %w", err)
	}
	return nil
}

// Done implements driver.VM.
func (v *vm) Done() <-chan struct{} { return v.done }

// Err implements driver.VM.
func (v *vm) Err() error {
	select {
	case <-v.done:
		return v.err
	default:
		return nil
	}
}
