// Command firkin-reconcile keeps a host's pods equal to a directory of Pod
// manifests. This package is flags, wiring and rendering; see docs for the contract
// of its command line.
package main

import (
	"context"
	"io"
	"os"
)

// version is set by the linker (-X main.version=...).
var version string

func main() {
	ctx, stop := withSignals(context.Background())
	code := run(ctx, stop, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is one invocation: it returns the exit code, after saying what went wrong.
// releaseSignals gives signals back to a command that minds them itself.
func run(ctx context.Context, releaseSignals func(), args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := newApp(stdin, stdout, stderr)
	a.releaseSignals = releaseSignals
	cmd := a.root()
	cmd.SetArgs(args)
	return a.exit(ctx, cmd.ExecuteContext(ctx))
}
