package reconcile

import (
	"testing"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestAssess(t *testing.T) {
	seen := func(b box, f func(*schema.PodStatus)) *schema.PodStatus {
		s := converged(b)
		if f != nil {
			f(status(&s, "a"))
		}
		return status(&s, "a")
	}
	web := box{name: "a", inits: []string{"i=1"}, containers: []string{"c=1", "d=1"}}
	never := web
	never.policy = schema.RestartNever
	for name, c := range map[string]struct {
		pod    box
		status *schema.PodStatus
		phase  PodPhase
		ready  bool
		final  bool
		reason string
	}{
		"nothing seen": {web, nil, PhasePending, false, false, "NotStarted"},
		"absent":       {web, seen(web, func(s *schema.PodStatus) { s.Machine = schema.MachineAbsent }), PhasePending, false, false, "NotStarted"},
		"not set up":   {web, seen(web, func(s *schema.PodStatus) { s.Configured = false }), PhasePending, false, false, "NotStarted"},
		"unknown":      {web, seen(web, func(s *schema.PodStatus) { s.Machine = schema.MachineUnknown }), PhaseUnknown, false, false, "MachineUnknown"},
		"dead":         {web, seen(web, func(s *schema.PodStatus) { s.Machine = schema.MachineDead }), PhasePending, false, false, "MachineDied"},
		"running":      {web, seen(web, nil), PhaseRunning, true, false, ""},
		"latest failure": {web, seen(web, func(s *schema.PodStatus) {
			s.Machine = schema.MachineAbsent
			s.Failures = []schema.Failure{{Reason: "New", At: now}, {Reason: "Old", At: now.Add(-time.Hour)}}
		}), PhasePending, false, false, "New"},
		"init runs":            {web, seen(web, func(s *schema.PodStatus) { findContainer(s, "i").State = schema.ContainerRunning }), PhasePending, false, false, "PodInitializing"},
		"init crashes":         {web, seen(web, func(s *schema.PodStatus) { ended(s, "i", schema.ContainerTerminated, 1) }), PhasePending, false, false, "CrashLoopBackOff"},
		"init failed":          {never, seen(never, func(s *schema.PodStatus) { ended(s, "i", schema.ContainerTerminated, 1) }), PhaseFailed, false, true, "InitContainerFailed"},
		"none runs yet":        {web, seen(web, func(s *schema.PodStatus) { s.Containers = s.Containers[:1] }), PhasePending, false, false, "ContainerCreating"},
		"one runs":             {web, seen(web, func(s *schema.PodStatus) { s.Containers = s.Containers[:2] }), PhaseRunning, false, false, "ContainerCreating"},
		"older spec runs":      {web, seen(web, func(s *schema.PodStatus) { findContainer(s, "c").Digest = "older" }), PhaseRunning, false, false, "ContainerCreating"},
		"crashes":              {web, seen(web, func(s *schema.PodStatus) { ended(s, "c", schema.ContainerTerminated, 1) }), PhaseRunning, false, false, "CrashLoopBackOff"},
		"one failed, one runs": {never, seen(never, func(s *schema.PodStatus) { ended(s, "c", schema.ContainerTerminated, 1) }), PhaseRunning, false, false, "Error"},
		"failed": {never, seen(never, func(s *schema.PodStatus) {
			ended(s, "c", schema.ContainerTerminated, 1)
			ended(s, "d", schema.ContainerTerminated, 0)
		}), PhaseFailed, false, true, "Error"},
		"succeeded": {never, seen(never, func(s *schema.PodStatus) {
			ended(s, "c", schema.ContainerTerminated, 0)
			ended(s, "d", schema.ContainerTerminated, 0)
		}), PhaseSucceeded, true, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			pod := c.pod.pod()
			if v := Assess(pod, c.status); v.Phase != c.phase || v.Ready != c.ready || v.Final != c.final || v.Reason != c.reason {
				t.Errorf("%+v", v)
			}
		})
	}
}

func TestLingering(t *testing.T) {
	b := box{name: "a", containers: []string{"c=1"}, policy: schema.RestartNever}
	s := converged(b)
	pod, seen := b.pod(), status(&s, "a")
	for age, want := range map[time.Duration]time.Duration{
		-time.Hour: 0, 0: lingers, lingers - 1: 1, lingers: 0,
	} {
		findContainer(seen, "c").StartedAt = now.Add(-age)
		if got := lingering(pod, seen, now); got != want {
			t.Errorf("%s after its start: %s, want %s", age, got, want)
		}
	}
	pod.RestartPolicy = schema.RestartAlways
	for age, want := range map[time.Duration]time.Duration{0: steady, steady - 1: 1, steady: 0} {
		findContainer(seen, "c").StartedAt = now.Add(-age)
		if got := lingering(pod, seen, now); got != want {
			t.Errorf("meant to stay, %s after its start: %s, want %s", age, got, want)
		}
	}
	findContainer(seen, "c").StartedAt = now
	pod.Container("c").Readiness = &schema.Probe{}
	if lingering(pod, seen, now) != 0 || lingering(pod, nil, now) != 0 {
		t.Error("a pod whose probe says how it is lingers")
	}
}
