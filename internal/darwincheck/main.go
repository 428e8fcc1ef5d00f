// Command darwincheck type-checks packages as they are built for macOS with cgo, on both kinds
// of Macs, on any platform: against the real API of every package they import, C excepted. It prints
// what does not fit, one error a line, and exits with 1 then.
//
//	go run ./internal/darwincheck ./...
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:])
	cancel()
	os.Exit(code)
}

func run(ctx context.Context, patterns []string) int {
	checked, problems, err := Check(ctx, patterns...)
	for _, p := range problems {
		fmt.Println(p)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "darwincheck:", err)
		return 2
	case len(problems) > 0:
		return 1
	}
	fmt.Printf("%d packages fit macOS\n", checked)
	return 0
}
