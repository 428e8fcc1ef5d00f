package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/ext4"
)

// Options of a Driver.
type Options struct {
	// Dir holds the machines, an absolute path; it is made (0700) when missing.
	Dir string
	// Command starts a shim; "--dir" and the machine's directory are added to it.
	Command []string
	// BlankDir caches blank store images by size; "blank" beside Dir when empty.
	BlankDir string
	// Format makes a blank file system of an image; mkfs.ext4 when nil.
	Format func(ctx context.Context, path string, size int64) error
	// KillOrphans ends VMM processes that carry a machine's id and have lost their
	// shim, and returns nil only when none is left. It may be nil for a VMM that
	// cannot outlive its shim.
	KillOrphans func(machineID string) error
	Log         logr.Logger
}

const (
	// bootTries is how often Create boots a machine whose boot fails for a transient cause.
	bootTries = 3
	// garbageAge is how old a directory that was never a machine, or is one no more,
	// must be to be taken away by Machines.
	garbageAge = time.Minute
	// Names of directories that are not (yet, any more) machines.
	newPrefix, goingPrefix = ".new-", ".gone-"
)

// Driver makes machines held by shim processes. Several drivers, in several
// processes, may work on the same directory at once.
type Driver struct {
	opt Options

	mu       sync.Mutex
	machines map[string]*machine
}

// NewDriver returns a driver for the machines in opt.Dir.
func NewDriver(opt Options) (*Driver, error) {
	if !filepath.IsAbs(opt.Dir) {
		return nil, fmt.Errorf("open machines: directory %q is not absolute", opt.Dir)
	}
	if len(opt.Command) == 0 {
		return nil, errors.New("open machines: no command for shims")
	}
	if opt.BlankDir == "" {
		opt.BlankDir = filepath.Join(filepath.Dir(opt.Dir), "blank")
	}
	if opt.Format == nil {
		opt.Format = ext4.Format
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open machines: %w", err)
	}
	if err := awaitLost(opt.Dir, opt.Log); err != nil {
		return nil, fmt.Errorf("open machines: %w", err)
	}
	return &Driver{opt: opt, machines: make(map[string]*machine)}, nil
}

// awaitLost waits until live machines whose directories were deleted have put them back
// (see caretaker): who looked before would take them for absent, and make others.
func awaitLost(dir string, log logr.Logger) error {
	for deadline := time.Now().Add(3 * careEvery); ; {
		lost, err := lostHolders(dir)
		if err != nil {
			return err
		}
		if len(lost) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("machine %s lives and its directory is gone", filepath.Base(lost[0]))
		}
		log.Info("waiting for live machines whose directories were deleted", "count", len(lost))
		time.Sleep(careEvery / 4)
	}
}

// Create implements driver.Driver.
func (d *Driver) Create(ctx context.Context, spec driver.Spec) (driver.Machine, error) {
	m, err := d.create(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("create machine %s: %w", spec.ID, err)
	}
	return m, nil
}

func (d *Driver) create(ctx context.Context, spec driver.Spec) (*machine, error) {
	if err := d.check(spec); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	lock, err := d.lay(ctx, spec)
	if err != nil {
		return nil, err
	}
	m := d.machine(spec.ID)
	for try := 1; ; try++ {
		err = m.boot(ctx, lock)
		if err == nil {
			return m, nil
		}
		if ctx.Err() != nil || try == bootTries || !errors.Is(err, driver.ErrTransient) {
			break
		}
		d.opt.Log.Info("boot failed, trying again", "machine", spec.ID, "try", try, "cause", err.Error())
		var lockErr error
		if lock, lockErr = take(ctx, m.dir); lockErr != nil {
			err = errors.Join(err, lockErr)
			break
		}
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*deathLimit)
	defer cancel()
	return nil, errors.Join(err, m.Delete(clean))
}

// check refuses what could not work before anything is made.
func (d *Driver) check(spec driver.Spec) error {
	if id, err := uuid.Parse(spec.ID); err != nil || id.String() != spec.ID {
		return fmt.Errorf("id %q is not a UUID in lower case", spec.ID)
	}
	if spec.StoreBytes <= 0 {
		return fmt.Errorf("store size %d is not positive", spec.StoreBytes)
	}
	return nil
}

// lay makes the machine's directory whole and returns its lock, held.
func (d *Driver) lay(ctx context.Context, spec driver.Spec) (_ *os.File, err error) {
	final := filepath.Join(d.opt.Dir, spec.ID)
	if exists(final) {
		return nil, fmt.Errorf("it exists: %w", fs.ErrExist)
	}
	dir, err := os.MkdirTemp(d.opt.Dir, newPrefix+spec.ID+"-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	// gofail: var layDirMade struct{}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make lock: %w", err), os.RemoveAll(dir))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir), lock.Close())
			d.leave(context.WithoutCancel(ctx), spec)
		}
	}()
	if err := lockExclusive(ctx, lock); err != nil {
		return nil, err
	}
	// gofail: var layLocked struct{}
	if err := os.Mkdir(filepath.Join(dir, logsDir), 0o700); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	if err := d.makeStore(ctx, filepath.Join(dir, storeFile), spec.StoreBytes); err != nil {
		return nil, err
	}
	// gofail: var layStoreMade struct{}
	if err := d.join(ctx, &spec); err != nil {
		return nil, err
	}
	// gofail: var layJoined struct{}
	if err := writeJSON(filepath.Join(dir, specFile), spec); err != nil {
		return nil, err
	}
	// gofail: var layRecorded struct{}
	if err := os.Rename(dir, final); err != nil {
		return nil, fmt.Errorf("name directory: %w", err)
	}
	// gofail: var layNamed struct{}
	return lock, nil
}

// Machines implements driver.Driver.
func (d *Driver) Machines(ctx context.Context) ([]driver.Machine, error) {
	entries, err := os.ReadDir(d.opt.Dir) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	var all []driver.Machine
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, newPrefix) || strings.HasPrefix(name, goingPrefix) {
			d.sweep(name)
			continue
		}
		if id, err := uuid.Parse(name); err != nil || id.String() != name || !e.IsDir() {
			continue
		}
		all = append(all, d.machine(name))
	}
	return all, ctx.Err()
}

// sweep removes a directory that a crash left while a machine was made or deleted.
// Both kinds hold nothing of a machine that lives.
func (d *Driver) sweep(name string) {
	dir := filepath.Join(d.opt.Dir, name)
	info, err := os.Lstat(dir)
	if err != nil || time.Since(info.ModTime()) < garbageAge {
		return
	}
	// Nobody has a lock that is not there yet, or that is gone already.
	if idle, err := free(dir); err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && !idle {
		return
	}
	if err := os.RemoveAll(dir); err != nil {
		d.opt.Log.Error(err, "leftover of a crash not removed", "dir", dir)
		return
	}
	d.opt.Log.Info("leftover of a crash removed", "dir", dir)
}

// machine returns the one object for a machine.
func (d *Driver) machine(id string) *machine {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.machines[id]
	if m == nil {
		m = &machine{d: d, id: id, dir: filepath.Join(d.opt.Dir, id)}
		d.machines[id] = m
	}
	return m
}

// forget drops the object of a machine that is gone.
func (d *Driver) forget(m *machine) {
	m.hangUp()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.machines[m.id] == m {
		delete(d.machines, m.id)
	}
}

// Close implements driver.Driver. Shims that this process started live on.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.machines {
		m.hangUp()
	}
	clear(d.machines)
	return nil
}
