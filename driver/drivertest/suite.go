// Package drivertest holds the conformance suite that every driver.Driver passes. It
// is written from the comments of package driver and knows no driver by name.
package drivertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// Harness is a driver under test and what the suite needs around it.
type Harness struct {
	Driver driver.Driver
	// Reopen returns another driver over the same machines, as another process would have.
	Reopen func(t *testing.T) driver.Driver
	// Guest is what machines boot.
	Guest driver.Guest
	// Template is a read-only disk with a root file system that has sh, sleep, echo and cat;
	// nil when containers run without one.
	Template *driver.Disk
	// BreakGuest changes a spec so that its boot fails.
	BreakGuest func(t *testing.T, spec *driver.Spec)
	// Kill ends a machine's processes without asking them.
	Kill func(t *testing.T, m driver.Machine)
	// Census lists everything of the machines that exists outside of the driver's memory:
	// files, processes, sockets. The ids of the suite's machines begin with prefix.
	Census func(t *testing.T, prefix string) []string

	prefix string // of machine ids, another one in each run
}

// Bounds on how long the suite waits; under software emulation a boot takes seconds.
const (
	bootLimit  = 2 * time.Minute
	callLimit  = 30 * time.Second
	deathLimit = 10 * time.Second
)

// Run runs the suite. Cases share machines where they can: booting one is slow.
func Run(t *testing.T, harness func(t *testing.T) Harness) {
	h := harness(t)
	// Suites may run side by side on one host.
	h.prefix = fmt.Sprintf("5eed%04x-%04x-4000-8000-", rand.N(1<<16), rand.N(1<<16))
	before := h.Census(t, h.prefix)
	t.Run("Create", func(t *testing.T) {
		m := h.create(t, 1)
		t.Run("InfoTellsWhatWasAskedFor", func(t *testing.T) { h.info(t, m) })
		t.Run("TheSameIDTwiceIsAnError", func(t *testing.T) { h.twice(t) })
		t.Run("AnotherDriverFindsIt", func(t *testing.T) { h.adopt(t, m) })
		t.Run("Disks", func(t *testing.T) { h.disks(t, m) })
		t.Run("Pod", func(t *testing.T) { h.pod(t, m) })
		t.Run("KillThenStartKeepsTheStore", func(t *testing.T) { h.killAndStart(t, m) })
		t.Run("StopIsOrderlyAndRepeatable", func(t *testing.T) { h.stop(t, m) })
		t.Run("DeleteLeavesNothing", func(t *testing.T) { h.delete(t, m, before) })
	})
	t.Run("FailedCreateLeavesNothing", func(t *testing.T) { h.failedCreate(t, before) })
	t.Run("CreateKeepsItsDeadline", func(t *testing.T) { h.deadline(t, before) })
	t.Run("MachinesAreIndependent", func(t *testing.T) { h.independent(t, before) })
}

// id returns the n-th machine id of the run.
func (h *Harness) id(n int) string { return fmt.Sprintf("%s%012d", h.prefix, n) }

func (h *Harness) spec(n int) driver.Spec {
	return driver.Spec{
		ID: h.id(n), Name: "default/conformance", CPUs: 1, MemoryBytes: 256 << 20, StoreBytes: 512 << 20,
		Guest: h.Guest, Annotations: map[string]string{"note": "kept"},
		Network: driver.Network{Enabled: true, Names: []string{fmt.Sprintf("conformance-%d.default", n)}, Domain: "default"},
	}
}

func (h *Harness) create(t *testing.T, n int) driver.Machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	m, err := h.Driver.Create(ctx, h.spec(n))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), callLimit)
		defer cancel()
		if err := m.Delete(ctx); err != nil {
			t.Errorf("delete at the end: %v", err)
		}
	})
	if describe(t, m).GetBootId() == "" {
		t.Error("Create returned before the agent answered")
	}
	return m
}

// call is a context for one call.
func call(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	t.Cleanup(cancel)
	return ctx
}

func describe(t *testing.T, m driver.Machine) *agentpb.PodState {
	t.Helper()
	s, err := client(m).Describe(call(t), &agentpb.DescribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func info(t *testing.T, m driver.Machine) driver.Info {
	t.Helper()
	i, err := m.Info(call(t))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (h *Harness) info(t *testing.T, m driver.Machine) {
	i := info(t, m)
	want := h.spec(1)
	if i.State != driver.StateRunning {
		t.Errorf("state %s: %s", i.State, i.Message)
	}
	if i.Spec.ID != want.ID || i.Spec.Name != want.Name || i.Spec.MemoryBytes != want.MemoryBytes || i.Spec.Annotations["note"] != "kept" {
		t.Errorf("spec %+v", i.Spec)
	}
	if i.Driver == "" || i.Accelerator == "" || i.StartedAt.IsZero() {
		t.Errorf("driver %q, accelerator %q, started at %s", i.Driver, i.Accelerator, i.StartedAt)
	}
	place(t, i)
}

func (h *Harness) twice(t *testing.T) {
	if _, err := h.Driver.Create(call(t), h.spec(1)); err == nil {
		t.Error("no error")
	}
	if got := ids(t, h.Driver); !slices.Equal(got, []string{h.id(1)}) {
		t.Errorf("machines %q: the one that exists was harmed", got)
	}
}

func ids(t *testing.T, d driver.Driver) []string {
	t.Helper()
	machines, err := d.Machines(call(t))
	if err != nil {
		t.Fatal(err)
	}
	list := make([]string, 0, len(machines))
	for _, m := range machines {
		list = append(list, m.ID())
	}
	return list
}

func (h *Harness) adopt(t *testing.T, m driver.Machine) {
	other := h.Reopen(t)
	defer other.Close()
	machines, err := other.Machines(call(t))
	if err != nil || len(machines) != 1 || machines[0].ID() != m.ID() {
		t.Fatalf("machines %v, %v", machines, err)
	}
	if got, want := describe(t, machines[0]).GetBootId(), describe(t, m).GetBootId(); got != want {
		t.Errorf("boot id %s, want %s", got, want)
	}
	if got := info(t, machines[0]).Spec.Annotations["note"]; got != "kept" {
		t.Errorf("annotation %q", got)
	}
}

func (h *Harness) disks(t *testing.T, m driver.Machine) {
	if err := m.DetachDisk(call(t), "nothing"); err != nil {
		t.Errorf("detach a disk that is not there: %v", err)
	}
	if h.Template == nil {
		return
	}
	for range 2 {
		err := m.AttachDisk(call(t), *h.Template)
		if errors.Is(err, driver.ErrUnsupported) {
			return // Pod has the template sent into the store
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := m.DetachDisk(call(t), h.Template.ID); err != nil {
			t.Error(err)
		}
	}
	missing := driver.Disk{ID: "missing", Path: h.Template.Path + ".missing", ReadOnly: true}
	if err := m.AttachDisk(call(t), missing); err == nil {
		t.Error("a disk without a file is attached")
	}
}

// killAndStart relies on the file that pod wrote.
func (h *Harness) killAndStart(t *testing.T, m driver.Machine) {
	before, address := describe(t, m), info(t, m).Spec.Network.Address
	h.Kill(t, m)
	until(t, deathLimit, "the machine is proven dead", func() bool { return info(t, m).State == driver.StateStopped })
	_, err := client(m).Describe(call(t), &agentpb.DescribeRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("agent of a dead machine: %v, want Unavailable", err)
	}
	if got := ids(t, h.Driver); !slices.Equal(got, []string{h.id(1)}) {
		t.Errorf("machines %q: a dead one is still listed", got)
	}
	for range 2 { // a running machine is left alone
		ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
		defer cancel()
		if err := m.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	h.configure(t, m)
	after := describe(t, m)
	if after.GetBootId() == before.GetBootId() {
		t.Error("the boot id is the same")
	}
	if i := info(t, m); i.Spec.Network.Address != address {
		t.Errorf("address %s, and %s before", i.Spec.Network.Address, address)
	}
	if created := after.GetCreatedAt().AsTime(); after.GetCreatedAt() == nil || !created.Equal(before.GetCreatedAt().AsTime()) {
		t.Errorf("created at %s, and at %s before", created, before.GetCreatedAt().AsTime())
	}
	if v := after.GetVolumes(); len(before.GetVolumes()) != 1 || len(v) != 0 {
		t.Errorf("volumes %v: the host gives them to each boot", v)
	}
	if got := readFile(t, m, "data", "deep/file"); got != "from the host" {
		t.Errorf("the emptyDir's file holds %q", got)
	}
	for _, c := range after.GetContainers() {
		if c.GetName() == "forever" && (c.GetState() != agentpb.ContainerState_TERMINATED || c.GetReason() != "MachineDied") {
			t.Errorf("container that ran when the machine died: %v", c)
		}
		if c.GetName() == "seven" && c.GetExitCode() != 7 {
			t.Errorf("container that had ended before: %v", c)
		}
	}
}

func until(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within %s", what, limit)
		case <-tick.C:
		}
	}
}

func (h *Harness) stop(t *testing.T, m driver.Machine) {
	ended := h.sidecars(t, m)
	for range 2 {
		if err := m.Stop(call(t)); err != nil {
			t.Fatal(err)
		}
	}
	ended(t)
	if i := info(t, m); i.State != driver.StateStopped {
		t.Errorf("state %s: %s", i.State, i.Message)
	}
}

func (h *Harness) delete(t *testing.T, m driver.Machine, before []string) {
	for range 2 {
		if err := m.Delete(call(t)); err != nil {
			t.Fatal(err)
		}
	}
	h.nothingLeft(t, before)
}

func (h *Harness) nothingLeft(t *testing.T, before []string) {
	t.Helper()
	if got := ids(t, h.Driver); len(got) != 0 {
		t.Errorf("machines %q are left", got)
	}
	if after := h.Census(t, h.prefix); !slices.Equal(after, before) {
		t.Errorf("left: %q, before: %q", after, before)
	}
}

func (h *Harness) failedCreate(t *testing.T, before []string) {
	spec := h.spec(2)
	h.BreakGuest(t, &spec)
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	if m, err := h.Driver.Create(ctx, spec); err == nil {
		t.Errorf("machine %s booted", m.ID())
	}
	h.nothingLeft(t, before)
}

func (h *Harness) deadline(t *testing.T, before []string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	start := time.Now()
	if _, err := h.Driver.Create(ctx, h.spec(3)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took > callLimit {
		t.Errorf("took %s", took)
	}
	h.nothingLeft(t, before)
}

func (h *Harness) independent(t *testing.T, before []string) {
	machines := make(chan driver.Machine, 2)
	for n := range 2 {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
			defer cancel()
			m, err := h.Driver.Create(ctx, h.spec(4+n))
			if err != nil {
				t.Error(err)
			}
			machines <- m
		}()
	}
	a, b := <-machines, <-machines
	if a == nil || b == nil {
		t.FailNow()
	}
	if got := ids(t, h.Driver); !slices.Equal(got, []string{h.id(4), h.id(5)}) {
		t.Errorf("machines %q", got)
	}
	apart(t, info(t, a), info(t, b))
	h.Kill(t, a)
	if describe(t, b).GetBootId() == "" {
		t.Error("the other machine does not answer")
	}
	for _, m := range []driver.Machine{a, b} {
		if err := m.Delete(call(t)); err != nil {
			t.Error(err)
		}
	}
	h.nothingLeft(t, before)
}

// client is the agent of a machine.
func client(m driver.Machine) agentpb.AgentClient {
	return agentpb.NewAgentClient(m.Agent())
}
