package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Outcome is what became of one desired pod.
type Outcome struct {
	Ref     schema.Ref
	Verdict Verdict
	Origin  schema.Origin
}

// Report is what Converge came to.
type Report struct {
	// Pods are the desired pods, sorted.
	Pods  []Outcome
	Holds []Hold
	// Left are the actions that were still to be done.
	Left []Action
}

// GuardError says that a guard held something back.
type GuardError struct{ Holds []Hold }

func (e *GuardError) Error() string {
	lines := make([]string, len(e.Holds))
	for i, h := range e.Holds {
		lines[i] = h.String()
	}
	return strings.Join(lines, "\n")
}

// FailedError names the pods that have failed for good.
type FailedError struct{ Pods []Outcome }

func (e *FailedError) Error() string { return list("failed", e.Pods) }

// NotReadyError names the pods that were not ready in time.
type NotReadyError struct{ Pods []Outcome }

func (e *NotReadyError) Error() string { return list("not ready in time", e.Pods) }

func list(what string, pods []Outcome) string {
	lines := make([]string, len(pods))
	for i, p := range pods {
		lines[i] = fmt.Sprintf("pod %s: %s: %s", p.Ref, what, strings.TrimPrefix(p.Verdict.Reason+": "+p.Verdict.Message, ": "))
		if p.Origin.File != "" {
			lines[i] += fmt.Sprintf(" (%s:%d)", p.Origin.File, p.Origin.Line)
		}
	}
	return strings.Join(lines, "\n")
}

// ErrStopped says that the caller ended Converge before it was done.
var ErrStopped = errors.New("stopped before it was done")

// Converge acts until nothing is left to do and, with wait, until every desired pod is
// ready or final. It returns what became of them, and
//
//   - *GuardError when a guard held something back (the rest is done all the same),
//   - *FailedError when pods failed for good,
//   - *NotReadyError when ctx's deadline came first,
//   - ErrStopped when ctx was cancelled.
//
// Several of them are joined.
func (l *Loop) Converge(ctx context.Context, wait bool) (Report, error) {
	last, err := l.loop(ctx, func(s look) bool {
		if !s.plan.Empty() || s.busy > 0 {
			return false
		}
		return !wait || settled(s)
	})
	report := reportOf(last)
	if errors.Is(err, context.Canceled) {
		return report, ErrStopped
	}
	var errs []error
	if len(report.Holds) > 0 {
		errs = append(errs, &GuardError{Holds: report.Holds})
	}
	var failed, late []Outcome
	for _, p := range report.Pods {
		switch {
		case p.Verdict.Phase == PhaseFailed:
			failed = append(failed, p)
		case err != nil && !p.Verdict.Ready:
			late = append(late, p)
		}
	}
	if len(failed) > 0 {
		errs = append(errs, &FailedError{Pods: failed})
	}
	if err != nil {
		late = append(late, undone(last)...)
	}
	if len(late) > 0 || err != nil && len(report.Left) > 0 {
		errs = append(errs, &NotReadyError{Pods: late})
	}
	return report, errors.Join(errs...)
}

// undone returns the pods that should be gone and cannot be removed, for now or for good.
func undone(s look) []Outcome {
	var list []Outcome
	for _, p := range s.plan.Pending {
		wanted := slices.ContainsFunc(s.desired.Pods, func(d *schema.Pod) bool { return d.Ref == p.Pod })
		if (p.Failed || p.Leaving) && p.Kind == KindPod && !wanted {
			list = append(list, Outcome{Ref: p.Pod, Verdict: Verdict{Phase: PhaseUnknown, Reason: ReasonNotRemoved, Message: p.Reason}})
		}
	}
	return list
}

// lingers is how long a pod that is meant to end gets to do so before it counts as ready
// because it runs: most such pods are brief, and their end is news that apply should bring.
const lingers = 5 * time.Second

// steady is how long a container that is meant to stay, and has no probe to say how it is,
// has to run before its pod counts as ready: one that crashes at once is not ready because
// it was seen in between.
const steady = 150 * time.Millisecond

// clockSlack is how far a guest's clock may be ahead; one that is further tells nothing.
const clockSlack = time.Second

// lingering returns how much longer a pod whose containers have only just begun to run is
// looked at before it counts as ready.
func lingering(pod *schema.Pod, status *schema.PodStatus, now time.Time) time.Duration {
	if status == nil {
		return 0
	}
	var longest time.Duration
	for _, c := range status.Containers {
		limit := lingers
		if pod.RestartPolicy == schema.RestartAlways {
			limit = steady
		}
		age := now.Sub(c.StartedAt)
		if c.State != schema.ContainerRunning || age <= -clockSlack || age >= limit {
			continue
		}
		if pod.RestartPolicy == schema.RestartAlways {
			if spec := pod.Container(c.Name); spec == nil || spec.Readiness != nil || spec.Startup != nil {
				continue
			}
		}
		longest = max(longest, limit-max(age, 0))
	}
	return longest
}

// settled tells whether every desired pod is ready, final or held by a guard, and none is
// left that failed to be removed.
func settled(s look) bool {
	held := make(map[schema.Ref]bool)
	for _, h := range s.plan.Holds {
		if h.Kind == HoldUnknown && h.Source == "" {
			return false
		}
		for _, ref := range h.Pods {
			held[ref] = true
		}
	}
	for _, p := range reportOf(s).Pods {
		if !p.Verdict.Ready && !p.Verdict.Final && !held[p.Ref] {
			return false
		}
	}
	return s.lingering == 0 && len(undone(s)) == 0
}

func reportOf(s look) Report {
	r := Report{Holds: s.plan.Holds, Left: s.plan.Actions}
	statuses := sortedStatuses(s.actual)
	pending := make(map[schema.Ref][]Pending)
	for _, p := range s.plan.Pending {
		pending[p.Pod] = append(pending[p.Pod], p)
	}
	for _, pod := range sortedPods(s.desired.Pods) {
		verdict := explained(AssessAt(pod, statusOf(statuses, pod.Ref), s.at), pending[pod.Ref])
		r.Pods = append(r.Pods, Outcome{Ref: pod.Ref, Verdict: verdict, Origin: pod.Origin})
	}
	return r
}

// explained adds to a verdict what the plan knows beyond it: what keeps a pod from being
// started, and that one which runs is not as it should be for want of data.
func explained(v Verdict, pending []Pending) Verdict {
	for _, p := range pending {
		switch {
		case v.Final:
		case p.Missing && v.Reason != ReasonConfigError:
			v.Ready, v.Reason = false, ReasonConfigError
			v.Message = fmt.Sprintf("%s %s: %s", p.Kind, p.Name, p.Reason)
		case p.Kind == KindPod && v.Reason == ReasonNotStarted:
			v.Message = p.Reason
		}
	}
	return v
}
