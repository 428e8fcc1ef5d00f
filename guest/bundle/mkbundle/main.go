// Command mkbundle builds a guest bundle (see package bundle) from Debian's
// kernel and crun packages and our own vminitd. It needs apt-get and dpkg-deb, a
// Go toolchain, and no privileges; the host's packages are not touched.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkbundle:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("mkbundle", flag.ContinueOnError)
	b := builder{log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	flags.StringVar(&b.arch, "arch", "amd64", "architecture of the guest: amd64 or arm64")
	flags.StringVar(&b.out, "out", "", "directory to write the bundle to")
	flags.StringVar(&b.cache, "cache", "build/cache/guest", "directory for package lists and packages")
	flags.StringVar(&b.version, "version", "", "version vminitd reports")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if b.out == "" || flags.NArg() > 0 {
		return errors.New("usage: mkbundle [-arch ARCH] [-cache DIR] -out DIR")
	}
	var err error
	// apt needs absolute paths.
	if b.cache, err = filepath.Abs(b.cache); err != nil {
		return fmt.Errorf("cache directory: %w", err)
	}
	return b.build(ctx)
}
