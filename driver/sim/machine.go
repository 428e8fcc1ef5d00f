package sim

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// stopLimit bounds a Stop whose context has no deadline.
const stopLimit = time.Minute

// machine is a driver's view of a machine.
type machine struct {
	d  *Driver
	s  *state
	id string
}

var _ driver.Machine = (*machine)(nil)

func (m *machine) ID() string { return m.id }

func (m *machine) Info(ctx context.Context) (driver.Info, error) {
	fault := m.s.faults.meet(ctx, "Info")
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if m.s.gone {
		return driver.Info{}, fmt.Errorf("machine %s: %w", m.id, driver.ErrNotFound)
	}
	info := driver.Info{
		Spec: m.s.spec, State: driver.StateStopped, Driver: Name, Accelerator: Name, StartedAt: m.s.startedAt,
		StoreHostBytes: m.s.store.hostBytes(),
	}
	if n := m.s.spec.Network; n.Enabled {
		info.Gateway, info.MAC = gateway(), macOf(n.Address.Addr())
	}
	switch {
	case fault != nil:
		info.State, info.Message = driver.StateUnknown, fault.Error()
	case m.s.running():
		info.State = driver.StateRunning
	case m.s.boot == nil:
		info.State, info.Message = driver.StateUnknown, "booting"
	case m.s.boot.err != nil:
		info.Message = "machine ended: " + m.s.boot.err.Error()
	default:
		info.Message = "powered off"
	}
	return info, nil
}

func (m *machine) Agent() grpc.ClientConnInterface { return agentConn{m} }

func (m *machine) AttachDisk(ctx context.Context, disk driver.Disk) error {
	b, err := m.live(ctx, "AttachDisk")
	if err != nil {
		return fmt.Errorf("attach disk %s: %w", disk.ID, err)
	}
	return b.disks.attach(disk)
}

func (m *machine) DetachDisk(ctx context.Context, id string) error {
	b, err := m.live(ctx, "DetachDisk")
	if err != nil {
		return fmt.Errorf("detach disk %s: %w", id, err)
	}
	b.disks.detach(id)
	return nil
}

// live returns the running boot, after op's faults.
func (m *machine) live(ctx context.Context, op string) (*boot, error) {
	if m.deleted() {
		return nil, driver.ErrNotFound
	}
	if err := m.s.faults.meet(ctx, op); err != nil {
		return nil, err
	}
	if b := m.s.current(); b != nil {
		return b, nil
	}
	return nil, driver.ErrNotRunning
}

func (m *machine) deleted() bool {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	return m.s.gone
}

func (m *machine) Start(ctx context.Context) error {
	if err := m.d.world.start(ctx, m.s, "Start"); err != nil {
		return fmt.Errorf("start machine %s: %w", m.id, err)
	}
	return nil
}

func (m *machine) Stop(ctx context.Context) error {
	if m.deleted() {
		return fmt.Errorf("stop machine %s: %w", m.id, driver.ErrNotFound)
	}
	b := m.s.current()
	if b == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	grace := stopLimit / 2
	if deadline, ok := ctx.Deadline(); ok {
		grace = max(0, min(grace, time.Until(deadline)/2))
	}
	_, err := agentpb.NewAgentClient(m.Agent()).Shutdown(ctx, &agentpb.ShutdownRequest{Grace: durationpb.New(grace)})
	if err != nil && status.Code(err) != codes.Unavailable {
		b.end(errKilled)
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		b.end(errKilled)
	}
	return nil
}

func (m *machine) Delete(context.Context) error {
	m.d.world.remove(m.id, m.s)
	return nil
}

// agentConn is a machine's agent: that of the boot that runs when it is called.
type agentConn struct{ m *machine }

func (a agentConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	c, err := a.connection(ctx)
	if err != nil {
		return err
	}
	return c.Invoke(ctx, method, args, reply, opts...)
}

func (a agentConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	c, err := a.connection(ctx)
	if err != nil {
		return nil, err
	}
	return c.NewStream(ctx, desc, method, opts...)
}

// connection fails for a machine that is down.
func (a agentConn) connection(ctx context.Context) (direct, error) {
	if err := a.m.s.faults.meet(ctx, "Link"); err != nil {
		return direct{}, status.Error(codes.Unavailable, err.Error())
	}
	b := a.m.s.current()
	if b == nil {
		return direct{}, status.Error(codes.Unavailable, driver.ErrNotRunning.Error())
	}
	return direct{agent: b.agent, guest: &b.life, host: &a.m.d.life}, nil
}
