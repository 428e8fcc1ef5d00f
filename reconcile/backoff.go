package reconcile

import (
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
// that its last runs of the same spec have earned.
func restartAt(s *schema.ContainerStatus) time.Time {
	short := 0
	for i := len(s.Runs) - 1; i >= 0; i-- {
		r := s.Runs[i]
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
