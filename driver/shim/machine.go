package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/shim/shimpb"
)

const (
	// infoLimit bounds how long a shim takes to say what it holds.
	infoLimit = 3 * time.Second
	// diskLimit bounds a hot-plug.
	diskLimit = 30 * time.Second
	// reapLimit bounds how long an ended shim is waited for.
	reapLimit = 3 * time.Second
	// stopLimit bounds a Stop whose context has no deadline.
	stopLimit = time.Minute
)

// machine is one machine, whatever its state.
type machine struct {
	d   *Driver
	id  string
	dir string

	mu   sync.Mutex
	conn *grpc.ClientConn
	// child is closed when the shim that this process started last has been reaped;
	// nil when it started none.
	child <-chan struct{}
}

// ID implements driver.Machine.
func (m *machine) ID() string { return m.id }

// Agent implements driver.Machine.
func (m *machine) Agent() grpc.ClientConnInterface { return agentConn{m} }

// Info implements driver.Machine.
func (m *machine) Info(ctx context.Context) (driver.Info, error) {
	info := driver.Info{State: driver.StateUnknown}
	spec, specErr := readSpec(m.dir)
	info.Spec = spec
	idle, err := free(m.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !exists(m.dir):
		return info, fmt.Errorf("machine %s: %w", m.id, driver.ErrNotFound)
	case err != nil:
		info.Message = err.Error()
	case idle && specErr != nil:
		info.Message = "no shim holds it, and it cannot be started again: " + specErr.Error()
	case idle:
		m.explainDead(&info)
	default:
		m.askShim(ctx, &info)
	}
	if info.Spec.ID == "" {
		info.Spec.ID = m.id
	}
	m.addPaths(&info)
	addNetwork(&info)
	return info, nil
}

// addPaths adds what the host can tell by itself.
func (m *machine) addPaths(info *driver.Info) {
	if path := filepath.Join(m.dir, storeFile); exists(path) {
		info.StorePath = path
		if n, err := allocated(path); err == nil {
			info.StoreHostBytes = n
		}
	}
	if path := filepath.Join(m.dir, consoleFile); exists(path) {
		info.ConsolePath = path
	}
	if path := filepath.Join(m.dir, logsDir); exists(path) {
		info.LogDir = path
	}
}

// explainDead is Info of a machine without a shim.
func (m *machine) explainDead(info *driver.Info) {
	m.hangUp()
	note, noted := readExit(m.dir)
	if noted {
		info.Message, info.StartedAt = note.words(), note.StartedAt
	} else {
		info.Message = "it is not running, and its shim left no word (killed, or the host restarted)"
	}
	if !note.Dead {
		err := m.killUnheld()
		if errors.Is(err, errLocked) {
			info.Message = "it is being started"
			return
		}
		if err != nil {
			info.Message = "its shim is dead, its VMM may not be: " + err.Error()
			return
		}
	}
	info.State = driver.StateStopped
}

// killUnheld ends what is left of a machine without a shim. The lock is kept meanwhile:
// a machine that is started now must not be taken for an orphan. errLocked: it is.
func (m *machine) killUnheld() error {
	probe, err := openLock(m.dir)
	if err != nil {
		return err
	}
	defer probe.Close()
	if err := flock(probe, unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return err
	}
	return m.killOrphans()
}

// askShim is Info of a machine with a shim.
func (m *machine) askShim(ctx context.Context, info *driver.Info) {
	ctx, cancel := context.WithTimeout(ctx, infoLimit)
	defer cancel()
	client, err := m.shim()
	if err != nil {
		info.Message = err.Error()
		return
	}
	resp, err := client.Info(ctx, &shimpb.InfoRequest{})
	if err != nil {
		info.Message = "its shim lives and does not answer: " + fromStatus(err).Error()
		return
	}
	var spec driver.Spec
	if err := json.Unmarshal(resp.GetSpec(), &spec); err != nil || spec.ID != m.id {
		info.Message = "its shim answers for another machine"
		return
	}
	info.Spec = spec
	info.Driver, info.Accelerator = resp.GetDriver(), resp.GetAccelerator()
	info.StartedAt = resp.GetStartedAt().AsTime()
	info.HolderPID, info.VMMPID = int(resp.GetPid()), int(resp.GetVmmPid())
	info.Message = resp.GetMessage()
	if resp.GetPhase() == shimpb.InfoResponse_READY {
		info.State = driver.StateRunning
	}
}

// AttachDisk implements driver.Machine.
func (m *machine) AttachDisk(ctx context.Context, disk driver.Disk) error {
	if err := m.checkRunning(); err != nil {
		return fmt.Errorf("attach disk %s: %w", disk.ID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, diskLimit)
	defer cancel()
	client, err := m.shim()
	if err == nil {
		_, err = client.AttachDisk(ctx, &shimpb.AttachDiskRequest{Id: disk.ID, Path: disk.Path, ReadOnly: disk.ReadOnly})
	}
	if err != nil {
		return fmt.Errorf("attach disk %s: %w", disk.ID, fromStatus(err))
	}
	return nil
}

// DetachDisk implements driver.Machine.
func (m *machine) DetachDisk(ctx context.Context, id string) error {
	if err := m.checkRunning(); err != nil {
		return fmt.Errorf("detach disk %s: %w", id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, diskLimit)
	defer cancel()
	client, err := m.shim()
	if err == nil {
		_, err = client.DetachDisk(ctx, &shimpb.DetachDiskRequest{Id: id})
	}
	if err != nil {
		return fmt.Errorf("detach disk %s: %w", id, fromStatus(err))
	}
	return nil
}

// checkRunning tells a machine that is down or gone from one that may answer.
func (m *machine) checkRunning() error {
	idle, err := free(m.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return driver.ErrNotFound
	case err != nil:
		return err
	case idle:
		return driver.ErrNotRunning
	}
	return nil
}

// Start implements driver.Machine.
func (m *machine) Start(ctx context.Context) error {
	lock, err := take(ctx, m.dir)
	if errors.Is(err, errLocked) {
		lock, err = nil, nil // it runs, or somebody starts it
	}
	if err == nil {
		err = m.start(ctx, lock)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = driver.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("start machine %s: %w", m.id, err)
	}
	return nil
}

func (m *machine) start(ctx context.Context, lock *os.File) error {
	if lock == nil {
		return m.awaitReady(ctx, nil)
	}
	if _, err := readSpec(m.dir); err != nil {
		lock.Close()
		return err
	}
	// gofail: var startLocked struct{}
	return m.boot(ctx, lock)
}

// Stop implements driver.Machine.
func (m *machine) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	if err := m.stop(ctx, true); err != nil {
		return fmt.Errorf("stop machine %s: %w", m.id, err)
	}
	return nil
}

// stop ends the machine, in order or by force, and proves it dead.
func (m *machine) stop(ctx context.Context, inOrder bool) error {
	idle, err := free(m.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w", driver.ErrNotFound)
	}
	if err != nil {
		return err
	}
	if !idle {
		m.end(ctx, inOrder)
	}
	m.hangUp()
	// The end of ctx is when force begins, not when it must be over.
	force, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*deathLimit)
	defer cancel()
	// gofail: var stopAsked struct{}
	if err := m.awaitFree(force); err != nil {
		return err
	}
	m.awaitReaped(force)
	if note, noted := readExit(m.dir); noted && note.Dead {
		return nil
	}
	return m.killOrphans()
}

// end asks the shim to end the machine, and kills what does not answer.
func (m *machine) end(ctx context.Context, inOrder bool) {
	client, err := m.shim()
	if err == nil && inOrder {
		if _, err = client.Stop(ctx, &shimpb.StopRequest{Grace: durationpb.New(graceWithin(ctx))}); err == nil {
			return
		}
	}
	if client != nil && m.answers(ctx, client) {
		kill, cancel := context.WithTimeout(context.WithoutCancel(ctx), deathLimit+replyLimit)
		defer cancel()
		if _, err = client.Kill(kill, &shimpb.KillRequest{}); err == nil {
			return
		}
	}
	if idle, freeErr := free(m.dir); freeErr != nil || idle {
		return
	}
	m.d.opt.Log.Info("shim does not end its machine; killing it", "machine", m.id)
	if err := killHolder(m.dir); err != nil {
		m.d.opt.Log.Error(err, "kill shim", "machine", m.id)
	}
}

// answers tells whether the shim answers at all; its machine's state does not matter.
func (m *machine) answers(ctx context.Context, client shimpb.ShimClient) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), infoLimit)
	defer cancel()
	_, err := client.Info(ctx, &shimpb.InfoRequest{})
	return err == nil
}

// awaitFree waits until nobody holds the machine.
func (m *machine) awaitFree(ctx context.Context) error {
	for delay := time.Millisecond; ; delay = min(2*delay, 50*time.Millisecond) {
		idle, err := free(m.dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && idle {
			return nil
		}
		if pause(ctx, delay) != nil {
			return errors.Join(fmt.Errorf("its shim does not end: %w", driver.ErrUnreachable), err)
		}
	}
}

// awaitReaped waits until a shim that this process started is gone from the process
// table, too. It has let go of its machine, so nothing depends on it.
func (m *machine) awaitReaped(ctx context.Context) {
	m.mu.Lock()
	child := m.child
	m.mu.Unlock()
	if child == nil {
		return
	}
	timer := time.NewTimer(reapLimit)
	defer timer.Stop()
	select {
	case <-child:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (m *machine) killOrphans() error {
	if m.d.opt.KillOrphans == nil {
		return nil
	}
	return m.d.opt.KillOrphans(m.id)
}

// Delete implements driver.Machine.
func (m *machine) Delete(ctx context.Context) error {
	if err := m.delete(ctx); err != nil {
		return fmt.Errorf("delete machine %s: %w", m.id, err)
	}
	m.d.forget(m)
	return nil
}

func (m *machine) delete(ctx context.Context) error {
	if !exists(m.dir) {
		return nil
	}
	if !exists(filepath.Join(m.dir, lockFile)) {
		// Somebody took its lock away; a shim may hold the file that has no name any more.
		if err := errors.Join(killHolder(m.dir), m.killOrphans()); err != nil {
			return err
		}
		return os.RemoveAll(m.dir)
	}
	if err := m.stop(ctx, false); err != nil && !errors.Is(err, driver.ErrNotFound) {
		return err
	}
	// gofail: var deleteStopped struct{}
	lock, err := take(context.WithoutCancel(ctx), m.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("it was started meanwhile: %w", err)
	}
	defer lock.Close()
	// gofail: var deleteLocked struct{}
	spec, unread := readSpec(m.dir)
	gone := filepath.Join(m.d.opt.Dir, goingPrefix+m.id)
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	if err := os.Rename(m.dir, gone); err != nil {
		return err
	}
	// gofail: var deleteRenamed struct{}
	if unread == nil {
		m.d.leave(context.WithoutCancel(ctx), spec)
	}
	// gofail: var deleteLeft struct{}
	return os.RemoveAll(gone)
}
