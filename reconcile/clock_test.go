package reconcile

import (
	"testing"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestClockStepChangesNothing: pods that are as they should be stay so whatever the time is.
func TestClockStepChangesNothing(t *testing.T) {
	want := numbered(3)
	for _, by := range []time.Duration{-24 * time.Hour, -time.Hour, time.Hour, 24 * time.Hour} {
		if p := Diff(pods(want...), converged(want...), Policy{}, now.Add(by)); !p.Empty() {
			t.Errorf("clock set by %s:\n%s", by, show(p))
		}
	}
}

// TestClockStepKeepsBackOffBounded: what failed once the clock was an hour ahead is tried again
// within the longest back-off of what it says now.
func TestClockStepKeepsBackOffBounded(t *testing.T) {
	for _, by := range []time.Duration{retryMost / 2, time.Hour, 24 * time.Hour} {
		s := converged(numbered(1)...)
		s.Pods[0].Machine = schema.MachineAbsent
		s.Pods[0].Failures = []schema.Failure{{
			Kind: "pod", Name: "p0", Digest: pods(numbered(1)...).Pods[0].VMDigest(), Attempts: 9, At: now.Add(by), Reason: "BootFailed",
		}}
		if p := Diff(pods(numbered(1)...), s, Policy{}, now.Add(2*retryMost)); !has(p, "add pod default/p0") {
			t.Errorf("failed %s in the future:\n%s", by, show(p))
		}
	}
}
