package qemu

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// Doctor reports what running machines under QEMU needs on this host. kernel is the
// guest's, "" when there is no bundle.
func Doctor(ctx context.Context, opt Options, kernel string) []driver.Check {
	facts, err := Probe(ctx, opt, kernel)
	if err != nil {
		return []driver.Check{{Name: "qemu", Fatal: true, Detail: err.Error(), Remedy: install(cmp.Or(opt.Arch, runtime.GOARCH))}}
	}
	checks := []driver.Check{
		{Name: "qemu", OK: true, Fatal: true, Detail: fmt.Sprintf("%s, version %s", facts.Binary, facts.Version)},
		accelerator(facts),
	}
	if facts.Bare {
		return append(checks, bareCheck())
	}
	return append(checks,
		sandbox(ctx, facts.Binary),
		limitsCheck(newGroup("doctor", limitsOf(facts, driver.Spec{}))),
		shareCheck(),
	)
}

// bareCheck says what a host without anything to confine QEMU lacks.
func bareCheck() driver.Check {
	return driver.Check{
		Name:   "confinement",
		Detail: "QEMU runs with the rights of this user: no system call filter, no limits, no user of its own; no hostPath volumes and no templates either",
		Remedy: "--driver vz, which needs none of these",
	}
}

// accelerator tells what runs the guests' code, and what that is worth as a boundary.
func accelerator(facts Facts) driver.Check {
	c := driver.Check{Name: "accelerator", OK: !facts.Emulated(), Detail: facts.Accelerator + ": " + facts.Why}
	if c.OK {
		return c
	}
	c.Detail += "; no isolation guarantee"
	if facts.Bare {
		c.Remedy = "without Hypervisor.framework, VMs are emulated in software: slower, and no security boundary by QEMU's own word; " +
			"use a QEMU that is built for this Mac's processor and signed with com.apple.security.hypervisor, as Homebrew's is"
		return c
	}
	c.Remedy = "without KVM, VMs are emulated in software: slower, and no security boundary by QEMU's own word; " +
		"enable virtualisation in the firmware (or nested virtualisation on the host) and let group kvm open /dev/kvm"
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

// limitsCheck tells which limits hold a QEMU that was taken over, by the cgroup that a machine would get.
func limitsCheck(g *group, err error) driver.Check {
	by := "address space, open files, size of files"
	if !adaptable() {
		by += fmt.Sprintf(" (%d GiB, as it cannot be raised later without CAP_SYS_RESOURCE)", fixedFileBytes>>30)
	}
	if os.Geteuid() == 0 {
		by += ", threads"
	}
	c := driver.Check{Name: "limits", Detail: "each VM's process: " + by + " by rlimits"}
	if err != nil {
		c.Detail += "; no limit of memory and CPU by cgroups: " + err.Error()
		c.Remedy = "as root (or in a cgroup that was delegated), have the controllers of cgroup version 2: systemd's default since 2019; systemd.unified_cgroup_hierarchy=1 on the kernel's command line"
		return c
	}
	c.OK = true
	c.Detail += "; " + strings.Join(g.controllers, ", ") + " by a cgroup of its own"
	if err := g.remove(); err != nil {
		c.OK, c.Detail = false, c.Detail+"; "+err.Error()
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
