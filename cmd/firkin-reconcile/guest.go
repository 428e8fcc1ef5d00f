package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/bundle"
)

// findGuest returns the guest bundle to boot machines from: the one named by
// --guest, else the first place that holds one.
func (a *app) findGuest() (driver.Guest, error) {
	if a.driverName() == driverSim {
		return driver.Guest{Version: "sim"}, nil
	}
	places := guestPlaces()
	if a.flags.guest != "" {
		places = []string{a.flags.guest}
	}
	for _, dir := range places {
		m, err := bundle.Read(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return driver.Guest{}, remedy(err, "build it anew with make guest")
		}
		if m.Arch != runtime.GOARCH && a.driverName() != driverQEMU { // which emulates it
			return driver.Guest{}, remedy(fmt.Errorf("guest bundle %s is for %s, this host is %s", dir, m.Arch, runtime.GOARCH), "build one with make guest")
		}
		if dir, err = filepath.Abs(dir); err != nil {
			return driver.Guest{}, fmt.Errorf("find guest bundle: %w", err)
		}
		return driver.Guest{
			Kernel:      filepath.Join(dir, bundle.KernelFile),
			Initrd:      filepath.Join(dir, bundle.InitrdFile),
			Version:     m.Version,
			Arch:        m.Arch,
			SandboxPort: m.SandboxPort,
		}, nil
	}
	return driver.Guest{}, remedy(fmt.Errorf("no guest bundle in %s", strings.Join(places, ", ")), "build one with make guest, or name one with --guest")
}

// guestPlaces are where a bundle is looked for, in order.
func guestPlaces() []string {
	var places []string
	if exe, err := os.Executable(); err == nil {
		beside := filepath.Dir(exe)
		places = append(places,
			filepath.Join(beside, "guest", runtime.GOARCH),
			filepath.Join(beside, "guest"),
			filepath.Join(filepath.Dir(beside), "build", "guest", runtime.GOARCH))
	}
	return append(places,
		filepath.Join("build", "guest", runtime.GOARCH),
		filepath.Join("/usr/share/firkin/guest", runtime.GOARCH),
		"/usr/share/firkin/guest")
}
