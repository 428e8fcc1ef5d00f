package reconcile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

func numbered(n int) (list []box) {
	for i := range n {
		list = append(list, box{name: fmt.Sprintf("p%d", i), containers: []string{"c=1"}})
	}
	return list
}

// has tells whether a plan has an action, as Action.String writes it.
func has(p Plan, action string) bool {
	return slices.ContainsFunc(p.Actions, func(a Action) bool { return a.String() == action })
}

func TestUnknownMachinesCountForTheBudget(t *testing.T) {
	s := converged(numbered(10)...)
	for i := range 9 {
		s.Pods[i].Machine = schema.MachineUnknown
	}
	p := Diff(pods(box{name: "new", containers: []string{"c=1"}}), s, Policy{}, now)
	if has(p, "remove pod default/p9") || len(p.Holds) != 1 || len(p.Holds[0].Pods) != 10 {
		t.Error(show(p))
	}
	p = Diff(pods(box{name: "new", containers: []string{"c=1"}}), s, everything, now)
	if !has(p, "remove pod default/p9") || has(p, "remove pod default/p0") {
		t.Error(show(p))
	}
}

func TestUnknownVMDigestIsNoChange(t *testing.T) {
	b := box{name: "a", containers: []string{"c=1"}}
	s := converged(b)
	status(&s, "a").VMDigest, status(&s, "a").Spec = "", nil
	if p := Diff(pods(b), s, Policy{}, now); !p.Empty() {
		t.Error(show(p))
	}
}

func TestDeadVMOfAnotherSizeIsReplaced(t *testing.T) {
	b := box{name: "a", containers: []string{"c=1"}}
	s := converged(b)
	status(&s, "a").Machine = schema.MachineDead
	b.memory = 1 << 30
	if p := Diff(pods(b), s, Policy{}, now); len(p.Actions) != 1 || p.Actions[0].Type != Remove || !p.Actions[0].Replacing {
		t.Error(show(p))
	}
}

func TestPodNamedTwiceIsHeld(t *testing.T) {
	b := box{name: "a", containers: []string{"c=1"}}
	for what, s := range map[string]schema.ActualState{"new": {Known: true}, "running": converged(b)} {
		other := b
		other.containers = []string{"c=2"}
		one, two := Diff(pods(b, other), s, Policy{}, now), Diff(pods(other, b), s, Policy{}, now)
		if !one.Empty() || len(one.Holds) != 1 || one.Holds[0].Kind != HoldConflict || show(one) != show(two) {
			t.Errorf("%s:\n%s\n%s", what, show(one), show(two))
		}
	}
}

func TestPodSeenTwiceIsUnknown(t *testing.T) {
	b := box{name: "a", containers: []string{"c=1"}}
	s := converged(b)
	second := *s.Pods[0]
	second.UID = "u"
	s.Pods = append(s.Pods, &second)
	b.containers = []string{"c=2"}
	one := Diff(pods(b), s, Policy{}, now)
	slices.Reverse(s.Pods)
	two := Diff(pods(b), s, Policy{}, now)
	if !one.Empty() || len(one.Pending) != 1 || show(one) != show(two) {
		t.Errorf("%s\n%s", show(one), show(two))
	}
	if p := Foresee(pods(b), s, Policy{}, now); len(p.Actions) != 0 {
		t.Errorf("foreseen: %v", p.Actions)
	}
}

func TestFailedActionsBackOff(t *testing.T) {
	b := box{name: "a", containers: []string{"c=1", "d=1"}, volumes: []string{"v"}}
	fail := func(kind Kind, name, reason string) func(*schema.PodStatus) {
		return func(s *schema.PodStatus) {
			s.Failures = append(s.Failures, schema.Failure{Kind: string(kind), Name: name, Digest: "older", Attempts: 3, At: now, Reason: reason})
		}
	}
	less := b
	less.containers = b.containers[:1]
	larger := b
	larger.memory = 1 << 30
	emptier := b
	emptier.volumes = []string{"v=Memory"}
	for name, c := range map[string]struct {
		want   []box
		change func(*schema.PodStatus)
		not    string
	}{
		"remove pod":       {nil, fail(KindPod, "a", schema.ReasonRemoveFailed), "remove pod default/a"},
		"replace pod":      {[]box{larger}, fail(KindPod, "a", schema.ReasonRemoveFailed), "remove pod default/a"},
		"remove container": {[]box{less}, fail(KindContainer, "d", schema.ReasonRemoveFailed), "remove container d of pod default/a"},
		"remove emptyDir":  {[]box{emptier}, fail(KindEmptyDir, "v", schema.ReasonRemoveFailed), "remove emptyDir v of pod default/a"},
		"wait": {[]box{b}, func(s *schema.PodStatus) {
			ended(s, "c", schema.ContainerExited, 0)
			fail(KindContainer, "c", "Broken")(s)
		}, "wait container c of pod default/a"},
		"trim": {[]box{b}, func(s *schema.PodStatus) {
			s.Store.HostBytes = 1 << 30
			fail(KindPod, "a", "TrimFailed")(s)
		}, "trim pod default/a"},
	} {
		t.Run(name, func(t *testing.T) {
			s := converged(b)
			c.change(status(&s, "a"))
			if p := Diff(pods(c.want...), s, everything, now); has(p, c.not) {
				t.Errorf("not put off:\n%s", show(p))
			}
			if p := Diff(pods(c.want...), s, everything, now.Add(4*time.Second)); !has(p, c.not) {
				t.Errorf("not tried again:\n%s", show(p))
			}
			if p := Diff(pods(c.want...), s, everything, now.Add(-time.Hour)); !has(p, c.not) {
				t.Errorf("not due after the clock was set back:\n%s", show(p))
			}
		})
	}
}

// TestStuckContainerKeepsItsEmptyDir: what could not be removed still mounts.
func TestStuckContainerKeepsItsEmptyDir(t *testing.T) {
	b := box{name: "a", containers: []string{"c=1"}, volumes: []string{"v"}}
	s := converged(b)
	status(&s, "a").Failures = []schema.Failure{{Kind: "container", Name: "c", Attempts: 3, At: now, Reason: schema.ReasonRemoveFailed}}
	b.volumes = []string{"v=Memory"}
	if p := Diff(pods(b), s, Policy{}, now); !p.Empty() {
		t.Error(show(p))
	}
}

func TestBootFailureDoesNotDelayARemoval(t *testing.T) {
	s := converged(numbered(3)...)
	s.Pods[2].Failures = []schema.Failure{{Kind: "pod", Name: "p2", Attempts: 9, At: now, Reason: "BootFailed"}}
	if p := Diff(pods(numbered(2)...), s, Policy{}, now); !has(p, "remove pod default/p2") {
		t.Error(show(p))
	}
}

func TestPodWithoutMachineIsForgottenAtOnce(t *testing.T) {
	s := converged(numbered(3)...)
	s.Pods[2] = &schema.PodStatus{
		Ref: s.Pods[2].Ref, Source: s.Pods[2].Source, Machine: schema.MachineAbsent,
		Failures: []schema.Failure{{Kind: "pod", Name: "p2", Attempts: 9, At: now, Reason: schema.ReasonRemoveFailed}},
	}
	if p := Diff(pods(numbered(2)...), s, Policy{}, now); !has(p, "remove pod default/p2") {
		t.Error(show(p))
	}
	// A machine that does not say whose it is may be that pod's.
	s.Pods = append(s.Pods, &schema.PodStatus{Ref: schema.Ref{Name: "5f0c"}, Machine: schema.MachineUnknown})
	if p := Diff(pods(numbered(2)...), s, Policy{}, now); !p.Empty() {
		t.Error(show(p))
	}
}

func TestClockSetBackMakesRestartsDue(t *testing.T) {
	b := box{name: "a", containers: []string{"c=1"}}
	s := converged(b)
	ended(status(&s, "a"), "c", schema.ContainerTerminated, 1, time.Second)
	if p := Diff(pods(b), s, Policy{}, now.Add(-time.Hour)); !has(p, "add container c of pod default/a") {
		t.Error(show(p))
	}
}

func TestUnreadableContainerMayMountAnything(t *testing.T) {
	b := box{name: "a", containers: []string{"c=1"}, volumes: []string{"v"}}
	s := converged(b)
	c := findContainer(status(&s, "a"), "c")
	c.Spec = nil
	d := pods(b)
	d.Pods[0].EmptyDirs, d.Pods[0].Containers[0].Mounts = nil, nil
	c.Digest = d.Pods[0].Containers[0].Digest() // known by its digest: mounts nothing
	if p := Diff(d, s, Policy{}, now); !has(p, "remove emptyDir v of pod default/a") {
		t.Error(show(p))
	}
	c.Digest = "older"
	status(&s, "a").Failures = []schema.Failure{{Kind: "container", Name: "c", Attempts: 3, At: now, Reason: schema.ReasonRemoveFailed}}
	if p := Diff(d, s, Policy{}, now); has(p, "remove emptyDir v of pod default/a") {
		t.Error(show(p))
	}
}

// initialises tells whether a change of the world makes the init container run again.
func initialises(d schema.DesiredState, s schema.ActualState) bool {
	m := newModel(s, now)
	for range previewRounds {
		p := Diff(d, m.state(), Policy{}, now)
		if p.Empty() {
			return false
		}
		for _, a := range p.Actions {
			if a.Type == Add && a.Name == "i" {
				return true
			}
			m.apply(a)
		}
	}
	return false
}

func TestEmptiedVolumeIsPreparedAgain(t *testing.T) {
	disk := box{name: "a", inits: []string{"i=1"}, containers: []string{"c=1"}, volumes: []string{"v"}}
	memory := disk
	memory.volumes = []string{"v=Memory"}
	once := memory
	once.policy = schema.RestartNever
	lost := func(b box, code int) schema.ActualState {
		return change(converged(b), func(s *schema.ActualState) {
			status(s, "a").EmptyDirs = nil
			ended(status(s, "a"), "c", schema.ContainerTerminated, code)
		})
	}
	for name, c := range map[string]struct {
		want box
		seen schema.ActualState
		runs bool
	}{
		"changed":          {memory, converged(disk), true},
		"lost with its VM": {memory, lost(memory, 255), true},
		"made anew after its VM died": {memory, change(converged(memory), func(s *schema.ActualState) {
			ended(status(s, "a"), "c", schema.ContainerTerminated, 255)
			findContainer(status(s, "a"), "c").Reason = schema.ReasonMachineDied
		}), true},
		"prepared again since its VM died": {memory, change(converged(memory), func(s *schema.ActualState) {
			ended(status(s, "a"), "c", schema.ContainerTerminated, 255)
			findContainer(status(s, "a"), "c").Reason = schema.ReasonMachineDied
			findContainer(status(s, "a"), "i").StartedAt = now
		}), false},
		"on disk as its VM died": {disk, change(converged(disk), func(s *schema.ActualState) {
			ended(status(s, "a"), "c", schema.ContainerTerminated, 255)
			findContainer(status(s, "a"), "c").Reason = schema.ReasonMachineDied
		}), false},
		"lost, nothing is to run":     {once, lost(once, 0), false},
		"unchanged":                   {memory, converged(memory), false},
		"a mere crash of a container": {memory, change(converged(memory), func(s *schema.ActualState) { ended(status(s, "a"), "c", schema.ContainerTerminated, 255) }), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := initialises(pods(c.want), c.seen); got != c.runs {
				t.Errorf("the init container runs again: %v", got)
			}
		})
	}
}

func TestReplacedContainerKeepsItsCause(t *testing.T) {
	b := box{name: "a", containers: []string{"c=1"}}
	s := converged(b)
	b.containers = []string{"c=2"}
	p := Foresee(pods(b), s, Policy{}, now)
	if len(p.Actions) != 2 || p.Actions[1].Cause != "replaced: image changed 1 -> 2" {
		t.Errorf("%+v", p.Actions)
	}
}

func TestErrorsAreJoined(t *testing.T) {
	err := errors.Join(&GuardError{Holds: []Hold{{Reason: "one"}}}, &FailedError{Pods: []Outcome{{
		Ref: schema.Ref{Namespace: "n", Name: "a"}, Verdict: Verdict{Reason: "Error"}, Origin: schema.Origin{File: "f", Line: 3},
	}}})
	if !strings.Contains(err.Error(), "one\npod n/a: failed: Error") || !strings.Contains(err.Error(), "(f:3)") {
		t.Error(err)
	}
}

// A machine that neither answers nor says whose it is may be any pod's.
func TestNoMachineIsMadeWhileOneIsNameless(t *testing.T) {
	desired := schema.DesiredState{Pods: []*schema.Pod{box{name: "a", containers: []string{"c=1"}}.pod()}}
	nameless := &schema.PodStatus{Ref: schema.Ref{Name: "5eed"}, Machine: schema.MachineUnknown, Message: "silent"}
	plan := Diff(desired, schema.ActualState{Known: true, Pods: []*schema.PodStatus{nameless}}, Policy{}, now)
	if len(plan.Actions) > 0 || len(plan.Pending) != 1 || !strings.Contains(plan.Pending[0].Reason, "machine 5eed may be this pod's") {
		t.Errorf("plan = %+v", plan)
	}
	nameless.Machine = schema.MachineDead
	if plan := Diff(desired, schema.ActualState{Known: true, Pods: []*schema.PodStatus{nameless}}, Policy{}, now); len(plan.Actions) == 0 {
		t.Errorf("held by a dead machine: %+v", plan.Pending)
	}
}
