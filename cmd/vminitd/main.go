// Command vminitd is PID 1 of every pod's virtual machine: it makes a system out
// of a booted kernel, starts and reaps every process, and serves the pod service
// over the link. It never returns; what cannot go on powers the machine off, and a
// panic ends the machine with its trace on the console.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/guest/runtime"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime/pid1"
)

// version is set by the linker.
var version = "dev"

// The console takes at most consoleBytes in every consoleWindow.
const (
	consoleBytes  = 64 << 10
	consoleWindow = time.Minute
)

func main() {
	if os.Args[0] == runtime.PauseName {
		fmt.Fprintln(os.Stderr, "vminitd: pause:", pause(context.Background()))
		os.Exit(1)
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "vminitd: is PID 1 of a virtual machine and nothing else")
		os.Exit(2)
	}
	handler := slog.NewTextHandler(pid1.NewConsole(os.Stderr, consoleBytes, consoleWindow), nil)
	log := logr.FromSlogHandler(handler).WithName("vminitd")
	err := run(context.Background(), log)
	log.Error(err, "the machine cannot go on")
	log.Error(errors.Join(err, pid1.PowerOff()), "the machine cannot be powered off")
	select {}
}
