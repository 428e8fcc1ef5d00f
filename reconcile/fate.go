package reconcile

import (
	"fmt"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// fateKind is what a pod's containers have come to.
type fateKind int

const (
	// fateOpen: the pod goes on.
	fateOpen fateKind = iota
	// fateSucceeded: all regular containers have ended well, for good.
	fateSucceeded
	// fateFailed: nothing runs and nothing is started again, and a container had failed.
	fateFailed
	// fateRetry: a Job's pod that never restarts containers has failed, and is tried again
	// as a whole.
	fateRetry
	// fateExhausted: a Job's pod has failed as often as it may; what else runs in it ends.
	fateExhausted
	// fateOverdue: activeDeadlineSeconds is over; what runs in it ends.
	fateOverdue
)

// fate is what a pod's containers have come to, and the container that is to blame.
type fate struct {
	kind fateKind
	sick *schema.ContainerStatus
}

// fate decides from what is seen, the manifest and the time only, so that it stays the
// same once what still ran is removed. A pod that has ended by itself stays what it is
// whatever its deadline.
func (v *view) fate() fate {
	f := v.ending()
	switch {
	case f.kind == fateSucceeded, f.kind == fateFailed:
		return f
	case v.overdue():
		return fate{kind: fateOverdue}
	default:
		return f
	}
}

// ending is the fate without the deadline.
func (v *view) ending() fate {
	if v.exhausted() {
		return fate{fateExhausted, v.sick()}
	}
	if s := v.failedTry(); s != nil {
		return fate{fateRetry, s}
	}
	for i := range v.pod.InitContainers {
		c := &v.pod.InitContainers[i]
		s := v.current(c)
		if s != nil && s.ExitCode != 0 && v.done(c, s) {
			return fate{fateFailed, s}
		}
	}
	var sick *schema.ContainerStatus
	for i := range v.pod.Containers {
		c := &v.pod.Containers[i]
		s := v.current(c)
		if s == nil || !v.done(c, s) {
			return fate{}
		}
		if s.ExitCode != 0 {
			sick = s
		}
	}
	if sick != nil {
		return fate{fateFailed, sick}
	}
	return fate{kind: fateSucceeded}
}

// anyRegular tells whether the predicate holds for a regular container that was seen.
func (v *view) anyRegular(is func(*schema.ContainerStatus) bool) bool {
	for i := range v.pod.Containers {
		if s := findContainer(v.status, v.pod.Containers[i].Name); s != nil && is(s) {
			return true
		}
	}
	return false
}

// deadline is when the pod's time is over; false when it has no bound, or has not begun.
func (v *view) deadline() (time.Time, bool) {
	if v.pod.ActiveDeadlineSeconds <= 0 || v.status.CreatedAt.IsZero() {
		return time.Time{}, false
	}
	return v.status.CreatedAt.Add(time.Duration(v.pod.ActiveDeadlineSeconds) * time.Second), true
}

func (v *view) overdue() bool {
	at, ok := v.deadline()
	return ok && v.reached(at)
}

// overdueWords say that the pod's time is over.
func (v *view) overdueWords() string {
	return fmt.Sprintf("activeDeadlineSeconds %d is over", v.pod.ActiveDeadlineSeconds)
}

// exhaustedWords say that a Job's pod is not tried again.
func (v *view) exhaustedWords(sick *schema.ContainerStatus) string {
	return fmt.Sprintf("backoffLimit %d of Job %s is reached: %s", v.pod.Job.BackoffLimit, v.pod.Job.Name, messageOf(sick))
}
