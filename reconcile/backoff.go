package reconcile

import (
	"fmt"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Restart back-off, as Kubernetes': 10 s doubling to 300 s, forgotten after a run of 10 minutes.
const (
	restartFirst = 10 * time.Second
	restartMost  = 300 * time.Second
	restartReset = 10 * time.Minute
)

// Retry back-off of failed actions: 1 s doubling to 300 s.
const (
	retryFirst = time.Second
	retryMost  = 300 * time.Second
)

// restartAt returns when a container that ended may be started again: after the back-off
// that its last runs of the same spec have earned. A run that the death of its machine
// ended has earned none: the boot of the machine has waited for that.
func restartAt(s *schema.ContainerStatus) time.Time {
	if s.Reason == schema.ReasonMachineDied {
		return s.FinishedAt
	}
	short := 0
	for i := len(s.Runs) - 1; i >= 0; i-- {
		r := s.Runs[i]
		if r.Reason == schema.ReasonMachineDied {
			continue
		}
		if r.Digest != s.Digest || r.FinishedAt.Sub(r.StartedAt) >= restartReset {
			break
		}
		short++
	}
	if short == 0 {
		return s.FinishedAt
	}
	return s.FinishedAt.Add(doubling(restartFirst, restartMost, short))
}

// retryAt returns when a failed action may be tried again.
func retryAt(f schema.Failure) time.Time {
	return f.At.Add(doubling(retryFirst, retryMost, f.Attempts))
}

// doubling returns first for n = 1, twice that for 2, and so on up to most.
func doubling(first, most time.Duration, n int) time.Duration {
	d := first
	for range n - 1 {
		if d *= 2; d >= most {
			return most
		}
	}
	return d
}

// latestFailure returns the standing failure of an object that was the last, of whatever
// spec, among those that counts accepts.
func latestFailure(list []schema.Failure, kind Kind, name string, counts func(schema.Failure) bool) (last schema.Failure, ok bool) {
	for _, f := range list {
		if f.Kind == string(kind) && f.Name == name && counts(f) && (!ok || f.At.After(last.At)) {
			last, ok = f, true
		}
	}
	return last, ok
}

func anyFailure(schema.Failure) bool { return true }

// failureOf returns the standing failure of an object under the given spec digest; one
// of another digest does not count, since what failed was something else.
func failureOf(s *schema.PodStatus, kind Kind, name, digest string) (schema.Failure, bool) {
	if s == nil {
		return schema.Failure{}, false
	}
	for _, f := range s.Failures {
		if f.Kind == string(kind) && f.Name == name && f.Digest == digest {
			return f, true
		}
	}
	return schema.Failure{}, false
}

// backsOff returns the failure that keeps an action on an object from being tried, and
// until when.
func backsOff(list []schema.Failure, kind Kind, name string, counts func(schema.Failure) bool, c *clock) (schema.Failure, time.Time, bool) {
	f, ok := latestFailure(list, kind, name, counts)
	if !ok || c.ahead(f.At, retryMost) {
		return f, time.Time{}, false
	}
	at := retryAt(f)
	return f, at, !c.reached(at)
}

// failed is what waits until a failed action may be tried again.
func failed(ref schema.Ref, f schema.Failure, until time.Time) Pending {
	return Pending{
		Pod: ref, Kind: Kind(f.Kind), Name: f.Name, Until: until, Failed: true,
		Reason: fmt.Sprintf("%s (failed %d times: %s)", f.Reason, f.Attempts, f.Message),
	}
}
