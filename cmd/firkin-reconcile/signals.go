package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// interruption is the cause of a context that a signal ended.
type interruption struct{ signal os.Signal }

func (e *interruption) Error() string { return "interrupted" }

// Is makes an interruption a cancellation to whoever asks for that.
func (e *interruption) Is(target error) bool { return target == context.Canceled }

// withSignals returns a context that the first SIGINT or SIGTERM ends; the second
// one ends the process at once. stop undoes it; it may be
// called more than once.
func withSignals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case sig := <-signals:
				if ctx.Err() != nil {
					os.Exit(exitInterrupted)
				}
				cancel(&interruption{signal: sig})
			}
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	})
}

// interrupted returns the signal that ended ctx, nil if none did.
func interrupted(ctx context.Context) os.Signal {
	if i, ok := errors.AsType[*interruption](context.Cause(ctx)); ok {
		return i.signal
	}
	return nil
}

// ended is how a command ends that goes on until ctx does: interrupting it is no news
// to whoever did.
func ended(ctx context.Context) error {
	if interrupted(ctx) != nil {
		return statusError(exitInterrupted)
	}
	return context.Cause(ctx)
}
