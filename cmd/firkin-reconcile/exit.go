package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/state"
)

// The exit codes; scripts rely on them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotReady    = 3
	exitRefused     = 4
	exitInterrupted = 130
)

// codedError is an error with the exit code it leads to.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &codedError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// errSaid ends a command with exit code 1 when everything was said already.
var errSaid = errors.New("see above")

// statusError passes on a code without a word: a remote command's, or a plan's.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// remedyError is an error with what to do about it.
type remedyError struct {
	err    error
	remedy string
}

func (e *remedyError) Error() string { return e.err.Error() }
func (e *remedyError) Unwrap() error { return e.err }

// remedy adds what to do to an error; nil stays nil.
func remedy(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &remedyError{err: err, remedy: fmt.Sprintf(format, args...)}
}

// exitCode is the one place where errors become exit codes.
func exitCode(ctx context.Context, err error) int {
	var status statusError
	var coded *codedError
	var owned *state.OwnedError
	var failed *reconcile.FailedError
	var late *reconcile.NotReadyError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &owned):
		return exitRefused
	case interrupted(ctx) != nil:
		return exitInterrupted
	case refusedBy(err):
		return exitRefused
	case errors.As(err, &failed):
		return exitFailed
	case errors.As(err, &late):
		return exitNotReady
	default:
		return exitFailed
	}
}

// refusedBy tells whether a guard that the user can open is among what went wrong.
func refusedBy(err error) bool {
	var guard *reconcile.GuardError
	return errors.As(err, &guard) && slices.ContainsFunc(guard.Holds, refuses)
}

// exit says what went wrong, once, and returns the exit code.
func (a *app) exit(ctx context.Context, err error) int {
	code := exitCode(ctx, err)
	var status statusError
	if err == nil || errors.As(err, &status) || errors.Is(err, errSaid) {
		return code
	}
	if code == exitInterrupted {
		err = context.Cause(ctx)
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(a.stderr, "%s %s\n", a.paint.Red("error:"), render.Safe(strings.TrimRight(line, "\n")))
	}
	var owned *state.OwnedError
	var with *remedyError
	switch {
	case errors.As(err, &with):
		fmt.Fprintf(a.stderr, "       %s\n", render.Safe(with.remedy))
	case errors.As(err, &owned):
		fmt.Fprintln(a.stderr, "       stop it, or wait for it to end; get, describe, logs, exec, trim and events work beside it")
	case code == exitUsage:
		fmt.Fprintln(a.stderr, "       see firkin-reconcile --help")
	}
	return code
}
