package shim_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/go-logr/logr/funcr"
	"go.uber.org/goleak"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/qemu"
	"github.com/firkin-dev/firkin-reconcile/driver/shim"
	"github.com/firkin-dev/firkin-reconcile/driver/sim"
)

// TestMain lets the test binary be the shim process of the machines it makes.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "shim" {
		// Not os.Exit, which sleeps for a second under the race detector.
		syscall.Exit(shimMain(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

func shimMain(args []string) int {
	flags := flag.NewFlagSet("shim", flag.ExitOnError)
	dir := flags.String("dir", "", "the machine's directory")
	kind := flags.String("driver", "", "sim, qemu or podless")
	faults := flags.String("faults", "", "faults of sim")
	cache := flags.String("cache", "", "qemu's cache directory")
	_ = flags.Parse(args) // exits on an error
	log := funcr.New(func(prefix, args string) { fmt.Fprintln(os.Stderr, prefix, args) }, funcr.Options{Verbosity: 1})
	f, err := sim.ParseFaults(*faults)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	var vmm driver.VMM
	switch *kind {
	case "sim":
		vmm = sim.NewVMM(sim.Options{Faults: f, Log: log})
	case "qemu":
		vmm = qemu.New(qemu.Options{CacheDir: *cache, Log: log})
	case "podless":
		vmm = newPodless()
	default:
		fmt.Fprintln(os.Stderr, "unknown driver", *kind)
		return 2
	}
	if err := shim.Serve(context.Background(), shim.ServeOptions{VMM: vmm, Dir: *dir, Log: log}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// command starts this test binary as a shim.
func command(args ...string) []string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return append([]string{exe, "shim"}, args...)
}
