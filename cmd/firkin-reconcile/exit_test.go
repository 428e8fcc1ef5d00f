package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/state"
)

// Every kind of error has its exit code; the gravest of several decides.
func TestExitCode(t *testing.T) {
	stopped, stop := context.WithCancelCause(context.Background())
	stop(&interruption{signal: os.Interrupt})
	budget := &reconcile.GuardError{Holds: []reconcile.Hold{{Kind: reconcile.HoldUnknown}, {Kind: reconcile.HoldBudget}}}
	unknown := &reconcile.GuardError{Holds: []reconcile.Hold{{Kind: reconcile.HoldUnknown}}}
	late, failed := &reconcile.NotReadyError{}, &reconcile.FailedError{}
	for name, test := range map[string]struct {
		ctx  context.Context
		err  error
		want int
	}{
		"nothing":             {err: nil, want: 0},
		"anything":            {err: errors.New("x"), want: 1},
		"said already":        {err: errSaid, want: 1},
		"usage":               {err: fmt.Errorf("a: %w", usagef("x")), want: 2},
		"not ready":           {err: late, want: 3},
		"failed":              {err: failed, want: 1},
		"failed and late":     {err: errors.Join(late, failed), want: 1},
		"guard":               {err: budget, want: 4},
		"guard and failed":    {err: errors.Join(budget, failed), want: 4},
		"unknown is a fault":  {err: unknown, want: 1},
		"owned":               {err: fmt.Errorf("a: %w", &state.OwnedError{}), want: 4},
		"remote code":         {err: statusError(42), want: 42},
		"interrupted":         {ctx: stopped, err: reconcile.ErrStopped, want: 130},
		"interrupted, remote": {ctx: stopped, err: statusError(7), want: 7},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := test.ctx
			if ctx == nil {
				ctx = context.Background()
			}
			if got := exitCode(ctx, test.err); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestParseFile(t *testing.T) {
	for arg, want := range map[string]struct {
		file   podFile
		remote bool
		bad    bool
	}{
		"web:cache/a/b":     {file: podFile{"web", "cache", "a/b"}, remote: true},
		"prod/web:cache/a":  {file: podFile{"prod/web", "cache", "a"}, remote: true},
		"web:cache":         {file: podFile{"web", "cache", ""}, remote: true},
		"web:":              {bad: true},
		"file":              {},
		"-":                 {},
		"./odd:name":        {},
		"/abs/odd:name":     {},
		"../up/odd:name":    {},
		"web:cache/a:b":     {file: podFile{"web", "cache", "a:b"}, remote: true},
		":no-pod":           {},
		"web:/leading/path": {bad: true},
	} {
		t.Run(arg, func(t *testing.T) {
			file, remote, err := parseFile(arg)
			if file != want.file || remote != want.remote || (err != nil) != want.bad {
				t.Errorf("got %+v, %v, %v", file, remote, err)
			}
		})
	}
}
