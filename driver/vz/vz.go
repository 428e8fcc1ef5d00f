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

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// Name is what the driver is called in flags and reports.
const Name = "vz"

// LinkPort is the vsock port on which the guest takes the link's byte stream.
const LinkPort = 6201

// Options configure a VMM.
type Options struct {
	Log logr.Logger
}

// VMM runs machines in the calling process.
type VMM struct {
	opt Options
	fw  framework
}

var _ driver.VMM = (*VMM)(nil)

// New returns a VMM over Virtualization.framework. Elsewhere than on macOS (and in
// programs built without cgo) its Start says driver.ErrUnsupported.
func New(opt Options) *VMM { return newVMM(opt, newFramework()) }

func newVMM(opt Options, fw framework) *VMM { return &VMM{opt: opt, fw: fw} }

// Name implements driver.VMM.
func (v *VMM) Name() string { return Name }

// Start implements driver.VMM.
func (v *VMM) Start(ctx context.Context, spec driver.Spec, dir string, card *os.File) (driver.VM, error) {
	host, err := v.fw.host()
	if err != nil {
		return nil, fmt.Errorf("start vz: %w", err)
	}
	c, err := plan(spec, dir, card, host)
	if err != nil {
		return nil, fmt.Errorf("start vz: %w", err)
	}
	m, err := v.fw.create(c)
	if err != nil {
		return nil, fmt.Errorf("start vz: create the machine: %w", err)
	}
	vm := newVM(m, host, v.opt.Log.WithValues("machine", spec.ID))
	if err := vm.start(ctx); err != nil {
		return nil, fmt.Errorf("start vz: %w", err)
	}
	return vm, nil
}

// errKilled is how a machine ends that was killed.
var errKilled = errors.New("killed")
