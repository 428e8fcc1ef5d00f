package actual

import (
	"time"

	"github.com/firkin-dev/firkin-reconcile/reconcile"
)

// stopwatch times the steps of an action.
type stopwatch struct {
	last   time.Time
	phases []reconcile.Phase
}

func startWatch() *stopwatch { return &stopwatch{last: time.Now()} }

// lap ends a step.
func (w *stopwatch) lap(name string) {
	now := time.Now()
	w.add(name, now.Sub(w.last))
	w.last = now
}

// add notes a step that was timed elsewhere.
func (w *stopwatch) add(name string, took time.Duration) {
	w.phases = append(w.phases, reconcile.Phase{Name: name, Took: took})
}

func (w *stopwatch) result() reconcile.Result { return reconcile.Result{Phases: w.phases} }
