package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	"golang.org/x/term"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/progress"
	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/driver/vz"
	"github.com/firkin-dev/firkin-reconcile/image"
)

// app is one invocation: where it talks, and its global flags.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr *talk
	flags  globalFlags
	// releaseSignals undoes withSignals.
	releaseSignals func()

	// display is what is shown at the moment, nil for nothing.
	display atomic.Pointer[progress.Display]

	// Set once flags are known.
	paint    render.Paint // of stderr
	paintOut render.Paint // of stdout
	log      logr.Logger
	slog     *slog.Logger
}

// globalFlags are the flags of every command.
type globalFlags struct {
	driver    string
	stateDir  string
	guest     string
	template  string
	logLevel  string
	logFormat string
	noColor   bool
	quiet     bool
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, stdout: stdout, stderr: &talk{w: stderr, screen: stderr}, log: logr.Discard(), slog: slog.New(slog.DiscardHandler)}
}

// show leads what is said through a display, which then also shows how far pulls are;
// the returned function ends that and closes the display.
func (a *app) show(d progress.Display) (end func()) {
	a.stderr.through(d)
	a.display.Store(&d)
	return func() {
		a.display.Store(nil)
		d.Close()
		a.stderr.through(nil)
	}
}

// pulling shows how far an image is.
func (a *app) pulling(p image.Progress) {
	if d := a.display.Load(); d != nil && p.Total > 0 {
		(*d).Step(fmt.Sprintf("pulling %s: %d%% of %s", p.Ref, 100*p.Done/p.Total, render.Bytes(p.Total)))
	}
}

// settle makes what depends on flags.
func (a *app) settle() error {
	plain := a.flags.noColor || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
	a.paint = render.Paint(!plain && isTerminal(a.stderr.screen))
	a.paintOut = render.Paint(!plain && isTerminal(a.stdout))
	switch a.flags.driver {
	case driverAuto, driverQEMU, driverVZ, driverSim:
	default:
		return usagef("--driver %q: it is one of auto, qemu, vz, sim", a.flags.driver)
	}
	if a.flags.template != templateAuto && a.flags.template != templateOff {
		return usagef("--template %q: it is one of auto, off", a.flags.template)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.flags.logLevel)); err != nil {
		return usagef("--log-level %q: it is one of debug, info, warn, error", a.flags.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler
	switch a.flags.logFormat {
	case "text":
		handler = slog.NewTextHandler(a.stderr, options)
	case "json":
		handler = slog.NewJSONHandler(a.stderr, options)
	default:
		return usagef("--log-format %q: it is one of text, json", a.flags.logFormat)
	}
	a.slog, a.log = slog.New(handler), logr.FromSlogHandler(handler)
	return nil
}

// screen is the terminal on stderr, if it is one.
func (a *app) screen() progress.Screen {
	f, ok := a.stderr.screen.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return progress.Screen{}
	}
	return progress.Screen{Size: func() (int, int) {
		columns, rows, err := term.GetSize(int(f.Fd()))
		if err != nil || columns <= 0 {
			return 80, 24
		}
		return columns, rows
	}}
}

// readable is stdout for what a container wrote. A terminal would obey it and gets it with all
// but its colours escaped; files and pipes get it as it is. flush comes last.
func (a *app) readable() (out io.Writer, flush func() error) {
	if !isTerminal(a.stdout) {
		return a.stdout, func() error { return nil }
	}
	t := render.NewTerminal(a.stdout)
	return t, t.Flush
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// talk is stderr, led through a display while one is shown.
type talk struct {
	screen io.Writer // stderr itself

	mu sync.Mutex
	w  io.Writer
}

func (t *talk) Write(b []byte) (int, error) {
	t.mu.Lock()
	w := t.w
	t.mu.Unlock()
	return w.Write(b)
}

// through leads what is said through w; nil ends that.
func (t *talk) through(w io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.w = w; w == nil {
		t.w = t.screen
	}
}

// The names of drivers.
const (
	driverAuto = "auto"
	driverQEMU = "qemu"
	driverVZ   = "vz"
	driverSim  = "sim"
)

// The values of --template.
const (
	templateAuto = "auto"
	templateOff  = "off"
)

// driverName is the driver chosen, with auto resolved for this platform: a program that was built for
// macOS without cgo has only QEMU.
func (a *app) driverName() string {
	switch {
	case a.flags.driver != driverAuto:
		return a.flags.driver
	case vz.Built:
		return driverVZ
	default:
		return driverQEMU
	}
}
