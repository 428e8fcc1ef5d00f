package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestFailingRemovalRests also when Actual remembers nothing of it.
func TestFailingRemovalRests(t *testing.T) {
	for name, remembers := range map[string]bool{"remembered": true, "forgotten": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var tries atomic.Int64
				m := newMachines(nil)
				m.world = newModel(converged(numbered(2)...), time.Now())
				m.before = func(_ context.Context, a Action) error {
					if a.Type != Remove {
						return nil
					}
					tries.Add(1)
					return errors.New("no")
				}
				m.forgets = !remembers
				_, stop := running(t, &manifests{state: pods(numbered(1)...)}, m)
				time.Sleep(10 * time.Second)
				stop()
				most := int64(11)
				if remembers {
					most = 4 // after 0, 1, 3 and 7 s
				}
				if n := tries.Load(); n < 2 || n > most {
					t.Errorf("%d tries in 10 s", n)
				}
			})
		})
	}
}

// varying is a Desired that tests change.
type varying struct {
	mu    sync.Mutex
	state schema.DesiredState
}

func (v *varying) Pods(context.Context) (schema.DesiredState, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state, nil
}

func (v *varying) set(l *Loop, s schema.DesiredState) {
	v.mu.Lock()
	v.state = s
	v.mu.Unlock()
	l.Wake()
}

// runLoop runs a loop until the function it returns is called.
func runLoop(t *testing.T, l *Loop) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestNoRemovalAfterTheManifestCameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		victim, slow := box{name: "v", containers: []string{"c=1"}}, box{name: "k", containers: []string{"c=1"}}
		m := newMachines(func(_ context.Context, a Action) error {
			if a.Pod.Name == "k" {
				time.Sleep(20 * time.Second)
			}
			return nil
		})
		m.world = newModel(converged(victim, slow), time.Now())
		slow.containers = []string{"c=2"}
		d := &varying{state: pods(slow, victim)}
		l := NewLoop(d, m, Options{Log: logr.Discard(), Parallel: 1})
		m.wake = l.Wake
		stop := runLoop(t, l)
		time.Sleep(time.Second)
		d.set(l, pods(slow)) // there is no slot to act on it
		time.Sleep(time.Second)
		d.set(l, pods(slow, victim))
		time.Sleep(10 * time.Minute)
		stop()
		if done := m.actions(); slices.Contains(done, "remove pod default/v") {
			t.Errorf("%q", done)
		}
	})
}

// slowLook lets an action end while a look is under way.
type slowLook struct {
	*machines
	hold func(seen schema.ActualState)
}

func (s slowLook) Pods(ctx context.Context) (schema.ActualState, error) {
	seen, err := s.machines.Pods(ctx)
	s.hold(seen)
	return seen, err
}

func TestPlanFromBeforeAnActionIsNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachines(func(context.Context, Action) error { time.Sleep(time.Second); return nil })
		looks := 0
		a := slowLook{m, func(schema.ActualState) {
			if looks++; looks == 2 {
				time.Sleep(5 * time.Second) // the pod is added meanwhile
			}
		}}
		b := box{name: "a", containers: []string{"c=1"}}
		l := NewLoop(&manifests{state: pods(b)}, a, Options{Log: logr.Discard()})
		stop := runLoop(t, l)
		time.Sleep(500 * time.Millisecond)
		l.Wake()
		time.Sleep(time.Minute)
		stop()
		if got := fmt.Sprint(m.actions()); got != "[add pod default/a add container c of pod default/a]" {
			t.Errorf("done: %s", got)
		}
	})
}

func TestHungPodsGiveUpTheirSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes := numbered(9)
		m := newMachines(func(ctx context.Context, a Action) error {
			if a.Pod.Name == "p8" {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		_, stop := running(t, &manifests{state: pods(boxes...)}, m)
		start := time.Now()
		time.Sleep(slotLimit + time.Second)
		synctest.Wait()
		if at := m.startOf("add container c of pod default/p8"); at.IsZero() || at.Sub(start) > slotLimit+lookRest {
			t.Errorf("the healthy pod started after %s", at.Sub(start))
		}
		stop()
	})
}

func TestActionsAreBounded(t *testing.T) {
	grace := 10 * time.Second
	for a, want := range map[Action]time.Duration{
		{Type: Add, Kind: KindPod}:                        3 * time.Minute,
		{Type: Add, Kind: KindContainer}:                  15 * time.Minute,
		{Type: Remove, Kind: KindContainer, Grace: grace}: 2*time.Minute + grace,
		{Type: Wait, Kind: KindContainer}:                 2 * time.Minute,
		{Type: Trim, Kind: KindPod}:                       6 * time.Minute,
		{Type: Add, Kind: KindEmptyDir}:                   time.Minute,
		{Type: Add, Kind: KindVolume}:                     15 * time.Minute,
		{Type: Remove, Kind: KindVolume}:                  time.Minute,
	} {
		if got := limitOf(a); got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
}

// hanging is a Desired that does not answer.
type hanging struct{ asked atomic.Int64 }

func (h *hanging) Pods(ctx context.Context) (schema.DesiredState, error) {
	h.asked.Add(1)
	<-ctx.Done()
	return schema.DesiredState{}, ctx.Err()
}

func TestLookHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{}
		stop := runLoop(t, NewLoop(h, newMachines(nil), Options{Log: logr.Discard()}))
		time.Sleep(3*lookLimit + 10*time.Second)
		stop()
		if n := h.asked.Load(); n != 4 {
			t.Errorf("asked %d times", n)
		}
	})
}

// plans is an Observer that keeps the causes of what was begun.
type plans struct {
	mu     sync.Mutex
	causes map[string]string
}

func (p *plans) ActionStarted(a Action) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.causes[a.String()] = a.Cause
}
func (p *plans) ActionFinished(Action, time.Duration, Result, error)  {}
func (p *plans) Looked(schema.DesiredState, schema.ActualState, Plan) {}

func TestLoopTellsWhyAContainerIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := box{name: "a", containers: []string{"c=1"}}
		m := newMachines(nil)
		m.world = newModel(converged(b), time.Now())
		b.containers = []string{"c=2"}
		o := &plans{causes: make(map[string]string)}
		l := NewLoop(&manifests{state: pods(b)}, m, Options{Log: logr.Discard(), Observer: o})
		if _, err := l.Converge(t.Context(), true); err != nil {
			t.Error(err)
		}
		if got := o.causes["add container c of pod default/a"]; got != "replaced: image changed 1 -> 2" {
			t.Errorf("cause %q", got)
		}
		if len(l.causes) != 0 {
			t.Errorf("kept: %v", l.causes)
		}
	})
}

// recording is an Actual that keeps manifests.
type recording struct {
	*machines
	kept atomic.Int64
}

func (r *recording) Record(_ context.Context, pod *schema.Pod) error {
	r.kept.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.world.pods[pod.Ref].Spec = pod
	return nil
}

func TestChangedWordsAreRecordedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := box{name: "a", containers: []string{"c=1"}}
		r := &recording{machines: newMachines(nil)}
		r.world = newModel(converged(b), time.Now())
		d := pods(b)
		d.Pods[0].Labels = map[string]string{"tier": "front"}
		stop := runLoop(t, NewLoop(&manifests{state: d}, r, Options{Log: logr.Discard()}))
		time.Sleep(time.Hour)
		stop()
		if n := r.kept.Load(); n != 1 {
			t.Errorf("recorded %d times", n)
		}
	})
}

func TestConvergeJoinsGuardAndFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		job := box{name: "p0", containers: []string{"c=1"}, policy: schema.RestartNever}
		s := converged(append(numbered(4)[1:], job)...)
		ended(status(&s, "p0"), "c", schema.ContainerTerminated, 1)
		m := newMachines(nil)
		m.world = newModel(s, time.Now())
		r, err := NewLoop(&manifests{state: pods(job)}, m, Options{Log: logr.Discard()}).Converge(t.Context(), true)
		_, guard := errors.AsType[*GuardError](err)
		failed, isFailed := errors.AsType[*FailedError](err)
		if !guard || !isFailed || len(failed.Pods) != 1 || len(r.Holds) != 1 {
			t.Errorf("error %v", err)
		}
	})
}

func TestConvergeWaitsForMachinesToBeListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachines(nil)
		a := unlisted{m}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := NewLoop(&manifests{state: pods(numbered(1)...)}, a, Options{Log: logr.Discard()}).Converge(ctx, true)
		if guard, ok := errors.AsType[*GuardError](err); !ok || guard.Holds[0].Kind != HoldUnknown || len(r.Pods) != 1 {
			t.Errorf("error %v", err)
		}
	})
}

type unlisted struct{ *machines }

func (unlisted) Pods(context.Context) (schema.ActualState, error) {
	return schema.ActualState{Reason: "no"}, nil
}

func TestConvergeTellsOfAPodThatCannotBeRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachines(func(context.Context, Action) error { return errors.New("no") })
		m.world = newModel(converged(numbered(2)...), time.Now())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := NewLoop(&manifests{state: pods(numbered(1)...)}, m, Options{Log: logr.Discard()}).Converge(ctx, true)
		if late, ok := errors.AsType[*NotReadyError](err); !ok || len(late.Pods) != 1 || late.Pods[0].Verdict.Reason != "NotRemoved" {
			t.Errorf("error %v", err)
		}
	})
}

// TestConvergeWaitsForAPodThatIsToBeRemoved: one whose machine does not answer, as it may be ending, is not left behind
// unsaid.
func TestConvergeWaitsForAPodThatIsToBeRemoved(t *testing.T) {
	for name, answers := range map[string]bool{"answers later": true, "never answers": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachines(nil)
				m.world = newModel(converged(numbered(2)...), time.Now())
				silent := m.world.pods[schema.Ref{Namespace: "default", Name: "p1"}]
				silent.Machine = schema.MachineUnknown
				l := NewLoop(&manifests{state: pods(numbered(1)...)}, m, Options{Log: logr.Discard()})
				m.wake = l.Wake
				if answers {
					time.AfterFunc(10*time.Second, func() {
						m.mu.Lock()
						silent.Machine = schema.MachineDead
						m.mu.Unlock()
						l.Wake()
					})
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := l.Converge(ctx, true)
				if answers {
					if left := m.state().Pods; err != nil || len(left) != 1 {
						t.Errorf("error %v, %d pods", err, len(left))
					}
					return
				}
				if late, ok := errors.AsType[*NotReadyError](err); !ok || len(late.Pods) != 1 || late.Pods[0].Verdict.Reason != ReasonNotRemoved {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}
