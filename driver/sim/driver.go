package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// bootTries is how often Create boots a machine whose boot fails for a transient cause.
const bootTries = 3

// maxMessage bounds a gRPC message, as everywhere.
const maxMessage = 4 << 20

// Driver is a driver.Driver over a World.
type Driver struct {
	world *World

	mu    sync.Mutex
	conns map[*state]*grpc.ClientConn
}

var _ driver.Driver = (*Driver)(nil)

// NewDriver returns a driver for the machines of a world. Several may share one.
func NewDriver(w *World) *Driver {
	return &Driver{world: w, conns: make(map[*state]*grpc.ClientConn)}
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
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		_ = c.Close() // fails only when closed already
	}
	clear(d.conns)
	return nil
}

// connection returns this driver's connection to a machine's agent.
func (d *Driver) connection(s *state) (*grpc.ClientConn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.conns[s]; c != nil {
		return c, nil
	}
	c, err := grpc.NewClient("passthrough:sim",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.dial(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithReadBufferSize(grpcIOBuffer), grpc.WithWriteBufferSize(grpcIOBuffer),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithDisableServiceConfig())
	if err != nil {
		return nil, fmt.Errorf("dial agent: %w", err)
	}
	d.conns[s] = c
	return c, nil
}

// hangUp lets go of the connection to a machine that is down.
func (d *Driver) hangUp(s *state) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.conns[s]; c != nil {
		_ = c.Close() // fails only when closed already
		delete(d.conns, s)
	}
}
