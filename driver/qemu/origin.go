package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// origin is where a machine comes from: the zero value boots it.
type origin struct {
	// memory is the file that the machine's RAM is; nil: QEMU makes it. With no state it is
	// written to, by a prototype that others will be copied from; else it is mapped
	// privately.
	memory *os.File
	// state is that of a prototype when it was copied.
	state *os.File
	// card is the far end of the machine's network card; nil: a card that the machine has
	// leads nowhere.
	card *os.File
	// shares is the machine's connection to shareServer; nil: it has no shares.
	shares      *os.File
	shareServer *shareServer
}

// prototype tells a machine that will be copied.
func (o origin) prototype() bool { return o.memory != nil && o.state == nil }

// happening is something that happens once, well or not.
type happening struct {
	once sync.Once
	done chan struct{}
	err  error // valid once done is closed
}

func newHappening() *happening { return &happening{done: make(chan struct{})} }

func (h *happening) raise(err error) {
	h.once.Do(func() {
		h.err = err
		close(h.done)
	})
}

// awaitEvent waits for it, for the machine's end, or for ctx's.
func (v *vm) awaitEvent(ctx context.Context, h *happening, what string) error {
	select {
	case <-h.done:
		return h.err
	case <-v.done:
		return fmt.Errorf("%s: %w", what, errors.Join(errors.New("qemu ended"), v.err))
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
}

// stateName is what the monitor calls the file of a machine's state.
const stateName = "machine-state"

// migration notes how far QEMU is with a machine's state.
func (v *vm) migration(status string) {
	switch status {
	case "completed":
		v.migrated.raise(nil)
	case "failed", "cancelled":
		v.migrated.raise(fmt.Errorf("qemu could not take the machine's state: %s", status))
	}
}

// handState gives QEMU the file of the state, and says that RAM is not in it.
func (v *vm) handState(ctx context.Context, state *os.File) error {
	err := v.monitor.run(ctx, "migrate-set-capabilities", map[string]any{"capabilities": []map[string]any{
		{"capability": "x-ignore-shared", "state": true},
		{"capability": "events", "state": true},
	}}, nil)
	if err != nil {
		return err
	}
	return v.monitor.runWithFile(ctx, "getfd", map[string]any{"fdname": stateName}, nil, state)
}

// restore has the machine go on from a prototype's state.
func (v *vm) restore(ctx context.Context, state *os.File) error {
	if err := v.handState(ctx, state); err != nil {
		return fmt.Errorf("restore from a template: %w", err)
	}
	if err := v.monitor.run(ctx, "migrate-incoming", map[string]any{"uri": "fd:" + stateName}, nil); err != nil {
		return fmt.Errorf("restore from a template: %w", err)
	}
	if err := v.awaitEvent(ctx, v.migrated, "restore from a template"); err != nil {
		return err
	}
	if err := v.monitor.run(ctx, "cont", nil, nil); err != nil {
		return fmt.Errorf("restore from a template: %w", err)
	}
	return nil
}

// settleTime is how long a prototype that has opened its link gets to come to rest.
const settleTime = 500 * time.Millisecond

// save waits for a prototype's guest to be complete, stops it and writes its state.
func (v *vm) save(ctx context.Context, state *os.File) error {
	if err := v.awaitEvent(ctx, v.opened, "wait for the guest"); err != nil {
		return err
	}
	// The port is not the last thing that the guest's program opens. What it still has to do
	// then would be done again by every copy.
	select {
	case <-time.After(settleTime):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := v.monitor.run(ctx, "stop", nil, nil); err != nil {
		return err
	}
	if err := v.handState(ctx, state); err != nil {
		return err
	}
	if err := v.monitor.run(ctx, "migrate", map[string]any{"uri": "fd:" + stateName}, nil); err != nil {
		return err
	}
	return v.awaitEvent(ctx, v.migrated, "write the machine's state")
}
