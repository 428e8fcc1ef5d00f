package reconcile

import (
	"fmt"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Plan is what one round does, and what it leaves for later and why.
type Plan struct {
	// Actions are grouped by pod, in the order they are to be done within a pod.
	Actions []Action
	// Holds are what a guard keeps from happening.
	Holds []Hold
	// Pending are what is wanted and has to wait.
	Pending []Pending
	// Next is when the clock alone first changes what is to be done: a Pending becomes due,
	// or a pod's time is over. It is zero if it never does.
	Next time.Time
}

// Empty tells whether the plan does nothing.
func (p *Plan) Empty() bool { return len(p.Actions) == 0 }

// String is the action in one line, without its cause.
func (a Action) String() string {
	if a.Kind == KindPod {
		return fmt.Sprintf("%s pod %s", a.Type, a.Pod)
	}
	return fmt.Sprintf("%s %s %s of pod %s", a.Type, a.Kind, a.Name, a.Pod)
}

// HoldKind tells the guards apart.
type HoldKind string

// The guards.
const (
	// HoldUnknown: something that would decide about removals could not be read.
	HoldUnknown HoldKind = "unknown"
	// HoldEmpty: a source turned empty.
	HoldEmpty HoldKind = "empty"
	// HoldBudget: more pods would be removed than a pass may.
	HoldBudget HoldKind = "budget"
	// HoldConflict: a pod is claimed twice.
	HoldConflict HoldKind = "conflict"
)

// Hold is something that a guard keeps from happening.
type Hold struct {
	Kind   HoldKind
	Source string
	// Pods are those that would have been removed, or that are claimed twice; sorted.
	Pods []schema.Ref
	// Reason says why; Remedy how to allow it.
	Reason string
	Remedy string
}

// String is the hold in one line.
func (h Hold) String() string {
	s := h.Reason
	if len(h.Pods) > 0 {
		names := make([]string, len(h.Pods))
		for i, p := range h.Pods {
			names[i] = p.String()
		}
		s += " (held: " + strings.Join(names, ", ") + ")"
	}
	if h.Remedy != "" {
		s += "; " + h.Remedy
	}
	return s
}

// Pending is something that is wanted and has to wait.
type Pending struct {
	Pod  schema.Ref
	Kind Kind
	Name string
	// Reason says what it waits for.
	Reason string
	// Until is when it becomes due by the clock alone; zero when an event has to come first.
	Until time.Time
	// Failed is true when it waits because its last try failed.
	Failed bool
	// Leaving is true of a pod that is to be removed once its machine answers or is proven dead.
	Leaving bool
	// Missing is true when it waits for something that the manifests do not give; see Lacks.
	Missing bool
}
