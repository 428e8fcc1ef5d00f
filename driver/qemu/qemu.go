// Package qemu runs machines under QEMU: microvm machines (or arm64's virt), by the processor
// where that really works (KVM on Linux, HVF on macOS) and by software emulation (TCG) elsewhere.
//
// QEMU gets nothing by path: its kernel, disks and sockets are opened here and handed
// over as file descriptors, so that it can run under a uid of its own that may open
// nothing else.
package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/template"
)

// Name is what the driver is called in flags and reports.
const Name = "qemu"

// The accelerators.
const (
	KVM = "kvm"
	HVF = "hvf" // macOS' Hypervisor.framework
	TCG = "tcg"
)

// Options configure a VMM.
type Options struct {
	// Arch is the architecture, amd64 or arm64, of guests that do not say theirs; "" is the
	// host's. Another than the host's is emulated.
	Arch string
	// Binary is the QEMU to run; "" looks for the architecture's in $PATH.
	Binary string
	// CacheDir keeps what was found out about the host, until its next boot; "" finds
	// it out anew each time.
	CacheDir string
	// TemplateDir keeps templates, which machines are copied from instead of booted; "" is
	// to boot every machine.
	TemplateDir string
	Log         logr.Logger
}

// VMM runs machines under QEMU.
type VMM struct {
	opt Options

	mu    sync.Mutex
	facts *Facts // of the last guest's architecture; nil until probed
}

var _ driver.VMM = (*VMM)(nil)

// New returns a VMM; nothing is run yet.
func New(opt Options) *VMM { return &VMM{opt: opt} }

// Name implements driver.VMM.
func (v *VMM) Name() string { return Name }

// Start implements driver.VMM.
func (v *VMM) Start(ctx context.Context, spec driver.Spec, dir string, card *os.File) (driver.VM, error) {
	facts, err := v.probe(ctx, spec.Guest)
	if err != nil {
		return nil, err
	}
	if why := facts.NoBoundary(); spec.Untrusted && why != "" {
		return nil, fmt.Errorf("the machine is marked untrusted: %s: %w", why, driver.ErrUnsupported)
	}
	trouble := ""
	if v.copyable(spec) {
		vm, err := v.fromTemplate(ctx, facts, spec, dir, card)
		if err == nil {
			return vm, nil
		}
		if !errors.Is(err, template.ErrNone) {
			v.opt.Log.Error(err, "the machine boots: its template cannot be used")
			trouble = fmt.Sprintf("it was booted, for its template cannot be used: %v", err)
		}
	}
	vm, err := v.boot(ctx, facts, spec, dir, card)
	if err != nil {
		return nil, err
	}
	vm.tell(trouble)
	if v.copyable(spec) {
		template.Later(vm.done, v.opt.Log, func(ctx context.Context) (bool, error) {
			return v.makeTemplate(ctx, facts, spec)
		})
	}
	return vm, nil
}

// boot starts a machine from nothing, with the server of its shares if it has any.
func (v *VMM) boot(ctx context.Context, facts Facts, spec driver.Spec, dir string, card *os.File) (*vm, error) {
	from := origin{card: card}
	if len(spec.Shares) > 0 {
		server, conn, err := startShares(ctx, spec, dir, v.opt.Log)
		if err != nil {
			return nil, err
		}
		defer conn.Close() // QEMU has its own copy
		from.shares, from.shareServer = conn, server
	}
	vm, err := launch(ctx, facts, spec, dir, from, v.opt.Log)
	if err != nil {
		err = fmt.Errorf("start qemu: %w", err)
		if server := from.shareServer; server != nil {
			err = errors.Join(err, server.complaint())
			server.stop()
		}
		return nil, err
	}
	return vm, nil
}

func (v *VMM) probe(ctx context.Context, guest driver.Guest) (Facts, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	opt := v.opt
	opt.Arch = cmp.Or(guest.Arch, opt.Arch, runtime.GOARCH)
	if v.facts != nil && v.facts.Arch == opt.Arch {
		return *v.facts, nil
	}
	facts, err := Probe(ctx, opt, guest.Kernel)
	if err != nil {
		return Facts{}, err
	}
	v.facts = &facts
	return facts, nil
}

// binary returns the QEMU to run.
func (o Options) binary(arch string) (string, error) {
	name := o.Binary
	if name == "" {
		name = "qemu-system-" + qemuArch(arch)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find QEMU: %w (%s)", err, install(arch))
	}
	return path, nil
}

// The architectures of guests.
const (
	archAMD64 = "amd64"
	archARM64 = "arm64"
)

func qemuArch(arch string) string {
	if arch == archARM64 {
		return "aarch64"
	}
	return "x86_64"
}
