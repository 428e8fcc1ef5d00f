package qemu

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// Doctor reports what running machines under QEMU needs on this host. kernel is the
// guest's, "" when there is no bundle.
func Doctor(ctx context.Context, opt Options, kernel string) []driver.Check {
	facts, err := Probe(ctx, opt, kernel)
	if err != nil {
		return []driver.Check{{Name: "qemu", Fatal: true, Detail: err.Error(), Remedy: "apt-get install " + debianPackage(cmp.Or(opt.Arch, runtime.GOARCH)) + " util-linux"}}
	}
	return []driver.Check{
		{Name: "qemu", OK: true, Fatal: true, Detail: fmt.Sprintf("%s, version %s", facts.Binary, facts.Version)},
		accelerator(facts),
		sandbox(ctx, facts.Binary),
		shareCheck(),
	}
}

// accelerator tells what runs the guests' code, and what that is worth as a boundary.
func accelerator(facts Facts) driver.Check {
	c := driver.Check{Name: "accelerator", OK: facts.Accelerator == KVM, Detail: facts.Accelerator + ": " + facts.Why}
	if !c.OK {
		c.Detail += "; no isolation guarantee"
		c.Remedy = "without KVM, VMs are emulated in software: slower, and no security boundary by QEMU's own word; " +
			"enable virtualisation in the firmware (or nested virtualisation on the host) and let group kvm open /dev/kvm"
	}
	return c
}

// sandbox tells whether this QEMU can confine its own system calls; without that none is started.
func sandbox(ctx context.Context, binary string) driver.Check {
	c := driver.Check{Name: "qemu sandbox", OK: true, Fatal: true, Detail: "system calls are filtered"}
	out, err := exec.CommandContext(ctx, binary, "-nodefaults", "-machine", "none", "-sandbox", "on", "-version").CombinedOutput()
	if err != nil {
		c.OK, c.Detail, c.Remedy = false, fmt.Sprintf("no -sandbox: %v: %s", err, out), "use a QEMU that is built with seccomp, as Debian's is"
	}
	return c
}

// shareCheck tells whether hostPath volumes can be had.
func shareCheck() driver.Check {
	c := driver.Check{Name: "virtiofsd", OK: true}
	path, err := findShareServer()
	switch {
	case err != nil:
		c.OK, c.Detail, c.Remedy = false, "not found: no hostPath volumes", "apt-get install qemu-system-common (Debian 12) or virtiofsd (later)"
	case os.Geteuid() != 0:
		c.OK, c.Detail, c.Remedy = false, path+", but not as this user: no hostPath volumes", "run as root, if pods are to have directories of the host"
	default:
		c.Detail = path + ": hostPath volumes"
	}
	return c
}
