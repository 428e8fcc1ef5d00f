// Package progress shows actions while they run: redrawn on a terminal, line by line
// elsewhere, as JSON lines for tools.
package progress

import (
	"fmt"
	"io"
	"time"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
)

// Display is told what happens. Its methods may be called concurrently. Writing to
// it writes lines that do not disturb what it shows (log lines).
type Display interface {
	io.Writer
	// Started: the action has begun.
	Started(a reconcile.Action)
	// Finished: the action has ended; err is nil when it is done.
	Finished(a reconcile.Action, took time.Duration, r reconcile.Result, err error)
	// Note says something that is not an action ("waiting for ...").
	Note(text string)
	// Step says how far something under way is; only a terminal shows it.
	Step(text string)
	// Close shows the last state. Nothing is shown after it.
	Close()
}

// Kind of a display.
type Kind string

// The kinds of displays, as --progress names them.
const (
	Auto  Kind = "auto"
	TTY   Kind = "tty"
	Plain Kind = "plain"
	JSON  Kind = "json"
	None  Kind = "none"
)

// Kinds are all kinds, for help and checks.
func Kinds() []string {
	return []string{string(Auto), string(TTY), string(Plain), string(JSON), string(None)}
}

// Screen is the terminal that a display draws on.
type Screen struct {
	// Size returns columns and rows; nil when there is no terminal.
	Size func() (columns, rows int)
}

// New returns a display on w. Auto is TTY on a screen and Plain without one.
func New(kind Kind, w io.Writer, screen Screen, paint render.Paint) Display {
	if kind == Auto {
		kind = Plain
		if screen.Size != nil {
			kind = TTY
		}
	}
	switch kind {
	case TTY:
		if screen.Size == nil {
			screen.Size = func() (int, int) { return 80, 24 }
		}
		return newTTY(w, screen, paint)
	case JSON:
		return &jsonLines{w: w}
	case None:
		return &silent{w: w}
	default:
		return &plain{w: w, paint: paint}
	}
}

// doing and done are the words of an action while it runs and once it is done.
func doing(a reconcile.Action) string {
	switch a.Type {
	case reconcile.Add:
		return map[reconcile.Kind]string{reconcile.KindPod: "Booting", reconcile.KindContainer: "Starting", reconcile.KindEmptyDir: "Creating", reconcile.KindVolume: "Mounting"}[a.Kind]
	case reconcile.Remove:
		if a.Kind == reconcile.KindContainer {
			return "Stopping"
		}
		return "Removing"
	case reconcile.Wait:
		return "Waiting"
	case reconcile.Trim:
		return "Trimming"
	default:
		return string(a.Type)
	}
}

func done(a reconcile.Action, r reconcile.Result) string {
	switch a.Type {
	case reconcile.Add:
		return map[reconcile.Kind]string{reconcile.KindPod: "Booted", reconcile.KindContainer: "Started", reconcile.KindEmptyDir: "Created", reconcile.KindVolume: "Mounted"}[a.Kind]
	case reconcile.Remove:
		return "Removed"
	case reconcile.Wait:
		if r.ExitCode != nil {
			return fmt.Sprintf("Exited (%d)", *r.ExitCode)
		}
		return "Exited"
	case reconcile.Trim:
		return "Trimmed " + render.Bytes(r.TrimmedBytes)
	default:
		return string(a.Type)
	}
}

// object names what an action is about, pod first.
func object(a reconcile.Action) string {
	if a.Kind == reconcile.KindPod {
		return "pod " + a.Pod.String()
	}
	return fmt.Sprintf("pod %s %s %s", a.Pod, a.Kind, a.Name)
}
