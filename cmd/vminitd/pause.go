package main

import (
	"context"
	"os"

	"github.com/firkin-dev/firkin-reconcile/guest/runtime"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime/pid1"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime/reap"
)

// pause is the first process of a process namespace that containers share: it holds the
// namespace and reaps those that nobody else does. It returns only on failure.
func pause(ctx context.Context) error {
	pid1.IgnoreSignals()
	if err := pid1.Isolate(); err != nil {
		return err
	}
	ready := os.NewFile(runtime.PauseReady, "ready")
	if _, err := ready.Write([]byte{1}); err != nil {
		return err
	}
	if err := ready.Close(); err != nil {
		return err
	}
	reap.New().Run(ctx)
	return context.Cause(ctx)
}
