package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/qemu"
	"github.com/firkin-dev/firkin-reconcile/driver/vz"
)

const (
	// doctorTimeout bounds all checks; probing KVM runs a small machine.
	doctorTimeout = time.Minute
	// lowDisk is where the disk under the state directory is called nearly full: a pod
	// store and an image of usual size no longer fit.
	lowDisk = 2 << 30
)

func (a *app) doctorCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host can do, and how to mend what is missing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return usagef("doctor: -o %q: it is one of text, json", output)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), doctorTimeout)
			defer cancel()
			return a.doctor(ctx, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// checkJSON is one check of `doctor -o json`.
type checkJSON struct {
	Name   string `json:"name"`
	Status string `json:"status"` // ok, warn, fail
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

func (a *app) doctor(ctx context.Context, output string) error {
	var list []checkJSON
	fatal := false
	for _, c := range a.checks(ctx) {
		status := "ok"
		switch {
		case !c.OK && c.Fatal:
			status, fatal = "fail", true
		case !c.OK:
			status = "warn"
		}
		list = append(list, checkJSON{Name: c.Name, Status: status, Detail: c.Detail, Remedy: c.Remedy})
	}
	if output == "json" {
		if err := render.JSON(a.stdout, struct {
			Checks []checkJSON `json:"checks"`
		}{list}); err != nil {
			return err
		}
	} else {
		a.printChecks(list)
	}
	if fatal {
		return statusError(exitFailed)
	}
	return nil
}

func (a *app) printChecks(list []checkJSON) {
	words := map[string]string{"ok": a.paintOut.Green("OK  "), "warn": a.paintOut.Yellow("WARN"), "fail": a.paintOut.Red("FAIL")}
	for _, c := range list {
		fmt.Fprintf(a.stdout, "%s  %-16s %s\n", words[c.Status], c.Name, render.Safe(c.Detail))
		if c.Remedy != "" && c.Status != "ok" {
			fmt.Fprintf(a.stdout, "      %-16s %s\n", "", render.Safe("to mend it: "+c.Remedy))
		}
	}
}

// checks are everything a doctor looks at, in the order it is said.
func (a *app) checks(ctx context.Context) []driver.Check {
	v := buildVersion()
	checks := []driver.Check{{
		Name: "version", OK: true, Detail: fmt.Sprintf("firkin-reconcile %s, %s, %s", v.Version, v.Go, v.Platform),
	}}
	dir, err := a.openState()
	if err != nil {
		return append(checks, driver.Check{Name: "state directory", Fatal: true, Detail: err.Error(), Remedy: "name another one with --state-dir"})
	}
	checks = append(checks, driver.Check{Name: "state directory", OK: true, Detail: dir.Root() + ", private to uid " + fmt.Sprint(os.Geteuid())}, diskSpace(dir.Root()))
	switch a.driverName() {
	case driverQEMU:
		guest, err := a.findGuest()
		if err != nil {
			guest.Kernel = "" // said below
		}
		opt := a.qemuOptions(dir)
		opt.Arch = guest.Arch
		checks = append(checks, qemu.Doctor(ctx, opt, guest.Kernel)...)
		checks = append(checks, makesStores())
		if runtime.GOOS == "linux" {
			checks = append(checks, tool("setpriv", "takes QEMU's privileges away when started as root", "apt-get install util-linux", os.Geteuid() == 0))
		}
	case driverVZ:
		checks = append(checks, vz.Doctor(ctx)...)
		checks = append(checks, makesStores())
		if !vz.Built {
			return append(checks, a.guestCheck())
		}
	case driverSim:
		checks = append(checks, driver.Check{Name: "sim", OK: true, Detail: "machines are simulated: nothing runs for real"})
	default:
		checks = append(checks, driver.Check{Name: a.driverName(), Fatal: true, Detail: errNoDriver(a.driverName()).Error(), Remedy: "choose another --driver"})
		return append(checks, a.guestCheck())
	}
	return append(checks, a.guestCheck(), a.podGuestsCheck(ctx))
}

func (a *app) guestCheck() driver.Check {
	guest, err := a.findGuest()
	if err != nil {
		return driver.Check{Name: "guest bundle", Fatal: true, Detail: err.Error(), Remedy: "build one with make guest, or name one with --guest"}
	}
	return driver.Check{Name: "guest bundle", OK: true, Detail: fmt.Sprintf("version %.12s %s", guest.Version, guest.Kernel)}
}

// makesStores checks for what makes the file systems of pod stores. Homebrew keeps it out of $PATH.
func makesStores() driver.Check {
	install := "apt-get install e2fsprogs"
	if runtime.GOOS == "darwin" {
		install = `brew install e2fsprogs, and add "$(brew --prefix e2fsprogs)/sbin" to PATH`
	}
	return tool("mkfs.ext4", "makes pod stores", install, true)
}

func tool(name, what, install string, fatal bool) driver.Check {
	path, err := exec.LookPath(name)
	if err != nil {
		return driver.Check{Name: name, Fatal: fatal, Detail: "not found; it " + what, Remedy: install}
	}
	return driver.Check{Name: name, OK: true, Detail: path}
}

func diskSpace(path string) driver.Check {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return driver.Check{Name: "disk space", Detail: err.Error()}
	}
	free := int64(fs.Bavail) * int64(fs.Bsize) //nolint:unconvert // its type differs between systems
	c := driver.Check{Name: "disk space", OK: free >= lowDisk, Detail: render.Bytes(free) + " free under the state directory"}
	if !c.OK {
		c.Remedy = "free some, or put the state elsewhere with --state-dir; firkin-reconcile image prune removes images no pod uses"
	}
	if runtime.GOOS == "linux" && fs.Blocks == 0 {
		c.OK, c.Detail = true, "the file system does not say"
	}
	return c
}
