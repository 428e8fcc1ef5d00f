package vz

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/go-logr/logr/testr"
	"go.uber.org/goleak"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/drivertest"
	"github.com/firkin-dev/firkin-reconcile/driver/shim"
)

// TestMain lets the test binary be the shim process of the machines it makes.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[2] == "--dir" && (os.Args[1] == shimBoots || os.Args[1] == shimCopies) {
		syscall.Exit(shimMain(os.Args[1], os.Args[3]))
	}
	goleak.VerifyTestMain(m)
}

// What a shim's machines are: booted, or copied wherever that is possible.
const (
	shimBoots  = "shim"
	shimCopies = "shim-copies"
)

func shimMain(kind, dir string) int {
	log := funcr.New(func(prefix, args string) { fmt.Fprintln(os.Stderr, prefix, args) }, funcr.Options{Verbosity: 1})
	var vmm driver.VMM = newVMM(Options{Log: log}, fake{mac: mac(), log: log})
	if kind == shimCopies {
		vmm = newCopier(filepath.Dir(filepath.Dir(dir)), log)
	}
	if err := shim.Serve(context.Background(), shim.ServeOptions{VMM: vmm, Dir: dir, Log: log}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// copier is a VMM that makes a machine's template before it starts the machine, and notes
// those that were copied in a file.
type copier struct {
	*VMM
	note string
}

func newCopier(root string, log logr.Logger) copier {
	clock := &watch{now: time.Now()}
	c := copier{
		VMM:  newVMM(Options{TemplateDir: filepath.Join(root, "templates"), Log: log}, fake{mac: mac(), log: log, watch: clock, boots: time.Second}),
		note: filepath.Join(root, "copied"),
	}
	c.now = clock.read
	return c
}

func (c copier) Start(ctx context.Context, spec driver.Spec, dir string, card *os.File) (driver.VM, error) {
	if c.copyable(spec, mac()) && spec.Guest.Kernel == kernel {
		if _, err := c.makeTemplate(ctx, mac(), spec); err != nil {
			return nil, err
		}
	}
	m, err := c.VMM.Start(ctx, spec, dir, card)
	if v, ok := m.(*vm); ok && v.m.(*fakeMachine).copied {
		if err := os.WriteFile(c.note, []byte(spec.ID), 0o600); err != nil {
			return nil, errors.Join(err, v.end())
		}
	}
	return m, err
}

const kernel = "vmlinux"

// TestConformanceVZ runs the suite through this driver's own logic and real shim
// processes; only the framework below is a fake, whose guests are simulated.
func TestConformanceVZ(t *testing.T) { conform(t, shimBoots, func(*testing.T, string) {}) }

// TestConformanceVZCopies is the same with machines that go on from a template, one at a time.
func TestConformanceVZCopies(t *testing.T) {
	conform(t, shimCopies, func(t *testing.T, root string) {
		if _, err := os.Stat(filepath.Join(root, "copied")); err != nil {
			t.Errorf("no machine was copied: %v", err)
		}
		refused, err := filepath.Glob(filepath.Join(root, "templates", "*.refused"))
		if err != nil {
			t.Error(err)
		}
		for _, path := range refused {
			why, err := os.ReadFile(path)
			t.Errorf("a template did not work: %s, %v", why, err)
		}
	})
}

// conform runs the suite; after is called with the directory of each of its parts.
func conform(t *testing.T, kind string, after func(t *testing.T, root string)) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		root, err := os.MkdirTemp("", "vz")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			after(t, root)
			_ = os.RemoveAll(root)
		})
		dir := filepath.Join(root, "m")
		d := open(t, kind, dir)
		t.Cleanup(func() { _ = d.Close() })
		return drivertest.Harness{
			Driver:     d,
			Reopen:     func(t *testing.T) driver.Driver { return open(t, kind, dir) },
			Guest:      driver.Guest{Kernel: kernel, Initrd: "initrd.img", Version: "v1"},
			BreakGuest: func(_ *testing.T, spec *driver.Spec) { spec.Guest.Kernel += ".missing" },
			Kill: func(t *testing.T, m driver.Machine) {
				info, err := m.Info(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := syscall.Kill(info.HolderPID, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			},
			Census: func(t *testing.T, prefix string) []string { return drivertest.Census(t, dir, prefix) },
		}
	})
}

func open(t *testing.T, kind, dir string) *shim.Driver {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := shim.NewDriver(shim.Options{
		Dir: dir, Command: []string{exe, kind}, Log: testr.New(t),
		Format: func(context.Context, string, int64) error { return nil }, // a simulated guest needs none
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}
