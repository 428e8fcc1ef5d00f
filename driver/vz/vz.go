// Package vz runs machines under macOS' Virtualization.framework.
//
// A machine lives in the process that made it, so its shim is its holder. All logic is in
// files that build everywhere and are tested over a fake of the framework; what touches
// the framework itself is framework_darwin.go, as thin as it can be.
package vz

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/template"
)

// Name is what the driver is called in flags and reports.
const Name = "vz"

// LinkPort is the vsock port on which the guest takes the link's byte stream.
const LinkPort = 6201

// Options configure a VMM.
type Options struct {
	// TemplateDir keeps templates, which machines are copied from instead of booted where that
	// works and is faster; "" is to boot every machine.
	TemplateDir string
	Log         logr.Logger
}

// VMM runs machines in the calling process.
type VMM struct {
	opt Options
	fw  framework
	now func() time.Time
}

var _ driver.VMM = (*VMM)(nil)

// New returns a VMM over Virtualization.framework. Elsewhere than on macOS (and in
// programs built without cgo) its Start says driver.ErrUnsupported.
func New(opt Options) *VMM { return newVMM(opt, newFramework()) }

func newVMM(opt Options, fw framework) *VMM { return &VMM{opt: opt, fw: fw, now: time.Now} }

// Name implements driver.VMM.
func (v *VMM) Name() string { return Name }

// Start implements driver.VMM.
func (v *VMM) Start(ctx context.Context, spec driver.Spec, dir string, card *os.File) (driver.VM, error) {
	host, err := v.fw.host()
	if err != nil {
		return nil, fmt.Errorf("start vz: %w", err)
	}
	copies, trouble := v.copyable(spec, host), ""
	if copies {
		vm, err := v.fromTemplate(ctx, host, spec, dir, card)
		if err == nil {
			return vm, nil
		}
		if errors.Is(err, errStuck) {
			return nil, fmt.Errorf("start vz: %w", err)
		}
		trouble = v.explain(err)
	}
	vm, err := v.boot(ctx, host, spec, dir, card)
	if err != nil {
		return nil, fmt.Errorf("start vz: %w", err)
	}
	vm.tell(trouble)
	if copies {
		template.Later(vm.done, vm.log, func(ctx context.Context) (bool, error) {
			return v.makeTemplate(ctx, host, spec)
		})
	}
	return vm, nil
}

// boot starts a machine from nothing.
func (v *VMM) boot(ctx context.Context, h host, spec driver.Spec, dir string, card *os.File) (*vm, error) {
	c, err := plan(spec, dir, card, h)
	if err != nil {
		return nil, err
	}
	vm, err := v.create(c, h, spec)
	if err != nil {
		return nil, err
	}
	if err := vm.start(ctx); err != nil {
		return nil, err
	}
	return vm, nil
}

func (v *VMM) create(c config, h host, spec driver.Spec) (*vm, error) {
	m, err := v.fw.create(c)
	if err != nil {
		return nil, fmt.Errorf("create the machine: %w", err)
	}
	return newVM(m, h, v.opt.Log.WithValues("machine", spec.ID)), nil
}

// errKilled is how a machine ends that was killed.
var errKilled = errors.New("killed")
