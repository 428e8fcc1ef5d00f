package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/go-logr/logr"
	"github.com/google/uuid"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/link"
)

// Name is what the driver is called in flags and reports.
const Name = "sim"

// Options of simulated machines.
type Options struct {
	// Faults go wrong; nil: nothing does.
	Faults *Faults
	// NoRuntimeDisks: no disk can be attached to a running machine.
	NoRuntimeDisks bool
	Log            logr.Logger
}

// FaultsAnnotation on a machine's spec sets faults for that machine alone.
const FaultsAnnotation = "sim.firkin.dev/faults"

// faultsOf returns the machine's own faults, or those of all machines.
func faultsOf(spec driver.Spec, all *Faults) (*Faults, error) {
	text, ok := spec.Annotations[FaultsAnnotation]
	if !ok {
		return all, nil
	}
	return ParseFaults(text)
}

// storeName is the file of a simulated store in its machine's directory.
const storeName = "sim-store.json"

// VMM runs simulated machines in the calling process, over a real link.
type VMM struct {
	opt   Options
	media media
}

var _ driver.VMM = (*VMM)(nil)

// NewVMM returns a VMM whose machines keep their stores in their directories.
func NewVMM(opt Options) *VMM { return &VMM{opt: opt} }

// Name implements driver.VMM.
func (v *VMM) Name() string { return Name }

// Start implements driver.VMM.
func (v *VMM) Start(ctx context.Context, spec driver.Spec, dir string, _ *os.File) (driver.VM, error) {
	faults, err := faultsOf(spec, v.opt.Faults)
	if err != nil {
		return nil, err
	}
	if err := faults.meet(ctx, "Start"); err != nil {
		return nil, err
	}
	st, err := openStoreFile(filepath.Join(dir, storeName), spec.StoreBytes)
	if err != nil {
		return nil, err
	}
	id := uuid.NewString()
	b := newBoot(id, st, faults, spec, &v.media, v.opt.Log)
	b.disks.fixed = v.opt.NoRuntimeDisks
	p := newPort()
	guest := link.NewGuest(p, link.GuestOptions{BootID: id, AgentVersion: agentVersion, Log: v.opt.Log})
	b.serve(agent.NewServer(b.agent), guest.Listen(link.AgentPort))
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		_ = guest.Run(life) // ends with its port
	}()
	stopServing := b.stopServing
	b.stopServing = func() {
		end()
		<-ran
		stopServing()
	}
	return &vm{boot: b, port: p, faults: faults}, nil
}

// vm is a machine of this process.
type vm struct {
	boot   *boot
	port   *port
	faults *Faults
}

func (m *vm) Link(ctx context.Context) (net.Conn, error) {
	if err := m.faults.meet(ctx, "Link"); err != nil {
		return nil, fmt.Errorf("open link: %w", err)
	}
	return m.port.connect(ctx)
}

func (m *vm) Accelerator() string { return Name }
func (m *vm) PID() int            { return 0 }

func (m *vm) AttachDisk(ctx context.Context, d driver.Disk) error {
	if err := m.faults.meet(ctx, "AttachDisk"); err != nil {
		return fmt.Errorf("attach disk %s: %w", d.ID, err)
	}
	return m.boot.disks.attach(d)
}

func (m *vm) DetachDisk(ctx context.Context, id string) error {
	if err := m.faults.meet(ctx, "DetachDisk"); err != nil {
		return fmt.Errorf("detach disk %s: %w", id, err)
	}
	m.boot.disks.detach(id)
	return nil
}

// errKilled is how a killed machine ends.
var errKilled = errors.New("killed")

func (m *vm) Kill() error {
	m.boot.end(errKilled)
	return nil
}

func (m *vm) Done() <-chan struct{} { return m.boot.done }
func (m *vm) Err() error            { return m.boot.err }
