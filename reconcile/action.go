// Package reconcile decides what to do (Diff, a pure function) and gets it done
// (Loop), knowing the world only through two small interfaces.
package reconcile

import (
	"context"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Desired is where the loop reads what should be.
type Desired interface {
	// Pods returns the settled desired state. An error means that nothing is known
	// and holds everything.
	Pods(ctx context.Context) (schema.DesiredState, error)
}

// Actual is where the loop reads what is, and changes it.
type Actual interface {
	// Pods returns what the machines were last seen to run.
	Pods(ctx context.Context) (schema.ActualState, error)
	// Apply carries out one action. It is idempotent. A failure is remembered in the
	// pod's Failures (and so backs off) until the same action succeeds.
	Apply(ctx context.Context, a Action) (Result, error)
}

// ActionType is the verb of an action.
type ActionType string

// The verbs. Replace never reaches Actual: it is how a plan shows that a pod is
// removed to be added again.
const (
	Add     ActionType = "add"
	Remove  ActionType = "remove"
	Wait    ActionType = "wait"
	Trim    ActionType = "trim"
	Replace ActionType = "replace"
)

// Kind is the kind of object an action is about.
type Kind string

// The kinds of objects.
const (
	KindPod       Kind = "pod"
	KindContainer Kind = "container"
	KindEmptyDir  Kind = "emptyDir"
	// KindVolume is a volume that is no emptyDir. An add of one of files that exists
	// changes its files in place.
	KindVolume Kind = "volume"
)

// Action is one step towards the desired state.
type Action struct {
	Type ActionType
	Kind Kind
	Pod  schema.Ref
	// Name is the container's or volume's name; for a pod, the pod's name.
	Name string
	// Cause says why, in words a user understands.
	Cause string
	// Disruptive is true when something that runs, or data, is lost by it.
	Disruptive bool
	// Replacing is true on a removal that is followed by an add of the same object.
	Replacing bool
	// Spec is the desired pod for an add, and the last applied one (may be nil) for
	// the others.
	Spec *schema.Pod
	// Grace is how long a removal lets processes end by themselves.
	Grace time.Duration
}

// Result is what an action did.
type Result struct {
	// Phases are the times taken by the steps of the action, in order.
	Phases []Phase
	// TrimmedBytes is what a trim gave back, as the guest's kernel reports it.
	TrimmedBytes int64
	// ExitCode is set by wait and by the removal of a container that had a status.
	ExitCode *int
}

// Phase is one timed step of an action.
type Phase struct {
	Name string
	Took time.Duration
}
