package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/firkin-dev/firkin-reconcile/actual"
	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/qemu"
	"github.com/firkin-dev/firkin-reconcile/driver/shim"
	"github.com/firkin-dev/firkin-reconcile/driver/sim"
	"github.com/firkin-dev/firkin-reconcile/driver/vz"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/state"
)

// newVMM returns what runs the machine of a shim process. This switch and the one in
// newDriver are the only places that know drivers by name.
func (a *app) newVMM(dir *state.Dir) (driver.VMM, error) {
	switch a.driverName() {
	case driverQEMU:
		return qemu.New(a.qemuOptions(dir)), nil
	case driverVZ:
		return vz.New(vz.Options{TemplateDir: a.templateDir(dir), Log: a.log.WithName("vz")}), nil
	case driverSim:
		return sim.NewVMM(sim.Options{Log: a.log.WithName("sim")}), nil
	default:
		return nil, errNoDriver(a.driverName())
	}
}

// newDriver returns what makes machines that outlive this process.
func (a *app) newDriver(_ context.Context, dir *state.Dir) (driver.Driver, error) {
	command, err := a.shimCommandLine(dir)
	if err != nil {
		return nil, err
	}
	opt := shim.Options{
		Dir:      dir.Machines(),
		BlankDir: filepath.Join(dir.Cache(), "blank"),
		Command:  command,
		Format:   a.format(),
		Log:      a.log.WithName("shim"),
	}
	switch a.driverName() {
	case driverQEMU:
		opt.KillOrphans = qemu.KillOrphans
	case driverVZ:
		if !vz.Built {
			return nil, errNoDriver(driverVZ)
		}
	case driverSim:
	default:
		return nil, errNoDriver(a.driverName())
	}
	return shim.NewDriver(opt)
}

// format makes file systems of machines' disks; nil is how drivers do it.
func (a *app) format() func(ctx context.Context, path string, size int64) error {
	if a.driverName() != driverSim {
		return nil
	}
	// A simulated machine has no file system to make.
	return func(context.Context, string, int64) error { return nil }
}

func errNoDriver(name string) error {
	return remedy(fmt.Errorf("driver %s: %w by this program on this host", name, driver.ErrUnsupported), "firkin-reconcile doctor says what this host can do")
}

func (a *app) qemuOptions(dir *state.Dir) qemu.Options {
	return qemu.Options{CacheDir: dir.Cache(), TemplateDir: a.templateDir(dir), Log: a.log.WithName("qemu")}
}

// templateDir keeps the templates of machines, "" when every machine is to boot.
func (a *app) templateDir(dir *state.Dir) string {
	if a.flags.template != templateAuto {
		return ""
	}
	return filepath.Join(dir.Cache(), "templates")
}

// shimCommandLine starts this very program as a shim. A shim gets none of our
// environment, so what it needs is in its arguments.
func (a *app) shimCommandLine(dir *state.Dir) ([]string, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return []string{
		exe, "shim", "--driver", a.driverName(), "--state-dir", dir.Root(), "--template", a.flags.template,
		"--log-format", a.flags.logFormat, "--log-level", a.flags.logLevel,
	}, nil
}

// newImages returns what resolves image references for the driver, to images for guests of
// an architecture ("" is the host's).
func (a *app) newImages(dir *state.Dir, arch string) (actual.Images, error) {
	if a.driverName() == driverSim {
		return simImages{}, nil
	}
	store, err := image.Open(dir.Images(), image.Options{Platform: image.Platform{Architecture: arch}, Progress: a.pulling, Log: a.log.WithName("image")})
	if err != nil {
		return nil, remedy(err, "see that %s can be written to", dir.Images())
	}
	return store, nil
}
