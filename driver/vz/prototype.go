package vz

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/template"
)

// settleTime is how long a prototype whose guest listens gets to come to rest.
const settleTime = 500 * time.Millisecond

// errSlower: there is no use for a template.
var errSlower = errors.New("restoring a machine takes longer than booting it")

// makeTemplate boots a prototype, saves it, ends it, and restores a machine from what was
// saved: only what has worked, and faster than a boot, becomes a template. False when there is
// one, when it was tried in vain lately, or when another process makes it now.
func (v *VMM) makeTemplate(ctx context.Context, h host, spec driver.Spec) (bool, error) {
	store, key := template.Open(v.opt.TemplateDir), templateKey(h, spec)
	if _, refused := store.Refused(key); refused {
		return false, nil
	}
	made, err := store.Make(ctx, key, func(ctx context.Context, d *template.Draft) error {
		booted, err := v.savePrototype(ctx, h, spec, d)
		if err != nil {
			return err
		}
		restored, err := v.tryCopy(ctx, h, spec, d)
		if err != nil {
			return fmt.Errorf("try it: %w", err)
		}
		v.opt.Log.Info("a machine was saved and restored", "booted", booted.String(), "restored", restored.String())
		if restored >= booted {
			return errSlower
		}
		return nil
	})
	if err == nil || ctx.Err() != nil {
		return made, err
	}
	if refuseErr := store.Refuse(key, err); refuseErr != nil {
		return false, errors.Join(err, refuseErr)
	}
	if errors.Is(err, driver.ErrUnsupported) || errors.Is(err, errSlower) {
		v.opt.Log.Info("no template is made; machines like this one boot", "cause", err.Error())
		return false, nil
	}
	return false, err
}

// savePrototype boots a machine like spec's, saves it to the draft and ends it. It returns how
// long the guest took to listen.
func (v *VMM) savePrototype(ctx context.Context, h host, spec driver.Spec, d *template.Draft) (booted time.Duration, err error) {
	identifier, err := v.fw.newIdentifier()
	if err != nil {
		return 0, fmt.Errorf("make an identifier: %w", err)
	}
	if err := os.WriteFile(d.Path(identifierFile), identifier, 0o600); err != nil {
		return 0, err
	}
	like, card, done, err := blank(spec, d.Scratch)
	if err != nil {
		return 0, err
	}
	defer done()
	c, err := planCopy(like, d.Scratch, card, h, identifier)
	if err != nil {
		return 0, err
	}
	vm, err := v.create(c, h, like)
	if err != nil {
		return 0, err
	}
	if err := vm.m.savable(); err != nil {
		return 0, fmt.Errorf("%w: the framework saves no such machine: %w", driver.ErrUnsupported, err)
	}
	began := v.now()
	if err := vm.start(ctx); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, vm.end()) }()
	if err := vm.greet(ctx); err != nil {
		return 0, err
	}
	booted = v.now().Sub(began)
	if err := v.save(ctx, vm, d.Path(stateFile)); err != nil {
		return 0, err
	}
	return booted, errors.Join(d.Add(ctx, identifierFile), d.Add(ctx, stateFile))
}

// save writes the state of a machine whose guest listens, and leaves it paused.
func (v *VMM) save(ctx context.Context, vm *vm, path string) error {
	conn, err := vm.Link(ctx)
	if err != nil {
		return err
	}
	// Nobody is connected to a machine that is copied.
	if err := conn.Close(); err != nil {
		return fmt.Errorf("leave the guest: %w", err)
	}
	select {
	case <-time.After(settleTime):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	release, err := template.Open(v.opt.TemplateDir).Turn(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := within(ctx, "pause the machine", vm.m.pause); err != nil {
		return err
	}
	return within(ctx, "save the machine", func() error { return vm.m.save(path) })
}

// tryCopy starts a machine from the draft and ends it. It returns how long it took until its
// guest answered.
func (v *VMM) tryCopy(ctx context.Context, h host, spec driver.Spec, d *template.Draft) (time.Duration, error) {
	dir := filepath.Join(d.Scratch, "copy")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	like, card, done, err := blank(spec, dir)
	if err != nil {
		return 0, err
	}
	defer done()
	began := v.now()
	vm, err := v.copy(ctx, d.Template(), h, like, dir, card)
	if err != nil {
		return 0, err
	}
	return v.now().Sub(began), vm.end()
}

// blank returns a machine of the same shape, with a store of the same size in dir and nothing in
// it, and with a network card that leads nowhere. done lets go of the card.
func blank(spec driver.Spec, dir string) (like driver.Spec, card *os.File, done func(), err error) {
	like = driver.Spec{
		ID: uuid.NewString(), Name: "template", CPUs: spec.CPUs, MemoryBytes: spec.MemoryBytes, StoreBytes: spec.StoreBytes,
		Guest: spec.Guest, Network: driver.Network{Enabled: spec.Network.Enabled},
	}
	store, err := os.OpenFile(filepath.Join(dir, storeFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return like, nil, nil, err
	}
	if err := errors.Join(store.Truncate(spec.StoreBytes), store.Close()); err != nil {
		return like, nil, nil, err
	}
	if !like.Network.Enabled {
		return like, nil, func() {}, nil
	}
	near, far, err := cardEnds()
	if err != nil {
		return like, nil, nil, err
	}
	return like, near, func() { _, _ = near.Close(), far.Close() }, nil
}

// cardEnds makes a pair of datagram sockets for a network card.
func cardEnds() (near, far *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a network card: %w", err)
	}
	for _, fd := range fds {
		syscall.CloseOnExec(fd)
	}
	return os.NewFile(uintptr(fds[0]), "card"), os.NewFile(uintptr(fds[1]), "card"), nil
}
