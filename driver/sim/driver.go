package sim

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// bootTries is how often Create boots a machine whose boot fails for a transient cause.
const bootTries = 3

// Driver is a driver.Driver over a World.
type Driver struct {
	world *World
	life  life
}

var _ driver.Driver = (*Driver)(nil)

// NewDriver returns a driver for the machines of a world. Several may share one.
func NewDriver(w *World) *Driver {
	return &Driver{world: w}
}

// Create implements driver.Driver.
func (d *Driver) Create(ctx context.Context, spec driver.Spec) (driver.Machine, error) {
	if id, err := uuid.Parse(spec.ID); err != nil || id.String() != spec.ID {
		return nil, fmt.Errorf("create machine: id %q is not a UUID in lower case", spec.ID)
	}
	if spec.StoreBytes <= 0 {
		return nil, fmt.Errorf("create machine %s: store size %d is not positive", spec.ID, spec.StoreBytes)
	}
	s, err := d.world.add(spec)
	if err != nil {
		return nil, fmt.Errorf("create machine %s: %w", spec.ID, err)
	}
	for try := 1; ; try++ {
		err := d.world.start(ctx, s, "Create")
		if err == nil {
			return &machine{d: d, s: s, id: spec.ID}, nil
		}
		if try == bootTries || ctx.Err() != nil || !errors.Is(err, driver.ErrTransient) {
			d.world.remove(spec.ID, s)
			return nil, fmt.Errorf("create machine %s: %w", spec.ID, err)
		}
	}
}

// Machines implements driver.Driver.
func (d *Driver) Machines(ctx context.Context) ([]driver.Machine, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list machines: %w", context.Cause(ctx))
	}
	var all []driver.Machine
	for _, id := range d.world.ids() {
		if s := d.world.state(id); s != nil {
			all = append(all, &machine{d: d, s: s, id: id})
		}
	}
	return all, nil
}

// Close implements driver.Driver.
func (d *Driver) Close() error {
	d.life.end()
	return nil
}
