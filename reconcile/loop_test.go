package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// manifests is a Desired that stays as it is.
type manifests struct{ state schema.DesiredState }

func (m *manifests) Pods(context.Context) (schema.DesiredState, error) {
	return m.state, nil
}

// machines is an Actual over the model; tests hang or fail its actions.
type machines struct {
	mu    sync.Mutex
	world *model
	done  []string
	began map[string]time.Time
	// before runs ahead of an action, without the lock; its error fails the action.
	before func(ctx context.Context, a Action) error
	wake   func()
	// forgets lets it remember no failure.
	forgets bool
	// lies lets it say that an action succeeded, and do nothing.
	lies bool
}

func newMachines(before func(context.Context, Action) error) *machines {
	return &machines{world: newModel(schema.ActualState{Known: true}, time.Now()), before: before, began: make(map[string]time.Time)}
}

func (m *machines) Pods(context.Context) (schema.ActualState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.world.state(), nil
}

func (m *machines) Apply(ctx context.Context, a Action) (Result, error) {
	m.mu.Lock()
	m.began[a.String()] = time.Now()
	m.mu.Unlock()
	if m.before != nil {
		if err := m.before(ctx, a); err != nil {
			if !m.forgets {
				m.fail(a)
			}
			return Result{}, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.world.now = time.Now()
	if !m.lies {
		m.world.apply(a)
	}
	m.done = append(m.done, a.String())
	return Result{}, nil
}

// fail remembers a failure as Actual promises to.
func (m *machines) fail(a Action) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.world.pods[a.Pod]
	if p == nil {
		p = &schema.PodStatus{Ref: a.Pod, Source: a.Spec.Source, Machine: schema.MachineAbsent}
		m.world.pods[a.Pod] = p
	}
	digest := a.Spec.VMDigest()
	if c := a.Spec.Container(a.Name); a.Kind == KindContainer && c != nil {
		digest = c.Digest()
	}
	reason := "Broken"
	if a.Type == Remove {
		reason = schema.ReasonRemoveFailed
	}
	attempts := 1
	if len(p.Failures) > 0 {
		attempts = p.Failures[0].Attempts + 1
	}
	p.Failures = []schema.Failure{{Kind: string(a.Kind), Name: a.Name, Digest: digest, Attempts: attempts, At: time.Now(), Reason: reason}}
}

// crash ends a container and tells the loop.
func (m *machines) crash(ref schema.Ref, name string) {
	m.mu.Lock()
	p := m.world.pods[ref]
	c := findContainer(p, name)
	c.State, c.ExitCode, c.FinishedAt = schema.ContainerExited, 1, time.Now()
	c.Runs = append(c.Runs, schema.Run{Digest: c.Digest, StartedAt: c.StartedAt, FinishedAt: c.FinishedAt, ExitCode: 1})
	m.mu.Unlock()
	m.wake()
}

// running starts a loop in a bubble; the function it returns ends it.
func running(t *testing.T, d *manifests, m *machines) (*Loop, func()) {
	t.Helper()
	l := NewLoop(d, m, Options{Log: logr.Discard()})
	m.wake = l.Wake
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	return l, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// actions returns what was done, in order.
func (m *machines) actions() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.done)
}

// state is what an observer sees.
func (m *machines) state() schema.ActualState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.world.state()
}

func TestLoopConvergesAndThenRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &manifests{state: pods(box{name: "a", inits: []string{"i=x"}, containers: []string{"c=x"}})}
		m := newMachines(nil)
		_, stop := running(t, d, m)
		defer stop()
		synctest.Wait()
		if got := differs(d.state, m.state()); got != "" {
			t.Fatal(got)
		}
		before := m.actions()
		time.Sleep(time.Hour) // virtual: 120 looks and more
		if after := m.actions(); len(after) != len(before) {
			t.Errorf("actions after convergence: %q", after[len(before):])
		}
	})
}

func TestLoopRestartsWithBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := box{name: "a", containers: []string{"c=x"}}
		m := newMachines(nil)
		_, stop := running(t, &manifests{state: pods(a)}, m)
		defer stop()
		for _, want := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
			synctest.Wait()
			crashed := time.Now()
			m.crash(a.pod().Ref, "c")
			time.Sleep(want*time.Second - time.Millisecond)
			synctest.Wait()
			if at := m.startOf("add container c of pod default/a"); at.After(crashed) {
				t.Fatalf("started after %s, before %d s", at.Sub(crashed), want)
			}
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
			if at := m.startOf("add container c of pod default/a"); !at.After(crashed) {
				t.Fatalf("not started after %d s", want)
			}
			runs(m, a.pod().Ref)
		}
	})
}

// runs keeps the record of ended runs over the model's restart, as the agent does.
func runs(m *machines, ref schema.Ref) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := findContainer(m.world.pods[ref], "c")
	n := 0
	for _, s := range m.done {
		if s == "add container c of pod default/a" {
			n++
		}
	}
	for range n - 1 {
		c.Runs = append(c.Runs, schema.Run{Digest: c.Digest, StartedAt: c.StartedAt, FinishedAt: c.StartedAt, ExitCode: 1})
	}
}

func (m *machines) startOf(action string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.began[action]
}

func TestHungPodDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes := []box{{name: "hung", containers: []string{"c=x"}}, {name: "fine", containers: []string{"c=x"}}}
		m := newMachines(func(ctx context.Context, a Action) error {
			if a.Pod.Name == "hung" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		_, stop := running(t, &manifests{state: pods(boxes...)}, m)
		start := time.Now()
		synctest.Wait()
		if got := m.actions(); len(got) != 2 || time.Since(start) != 0 {
			t.Error("the other pod waited")
		}
		m.crash(boxes[1].pod().Ref, "c")
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if at := m.startOf("add container c of pod default/fine"); !at.After(start) {
			t.Error("the other pod's container was not restarted")
		}
		stop()
		if took := time.Since(start); took > 11*time.Second+stopLimit {
			t.Errorf("stopping took until %s", took)
		}
	})
}

func TestFailureStopsThePodsListAndBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		m := newMachines(func(_ context.Context, a Action) error {
			if a.Kind == KindPod {
				if tries++; tries < 4 {
					return errors.New("no luck")
				}
			}
			return nil
		})
		d := &manifests{state: pods(box{name: "a", containers: []string{"c=x"}})}
		_, stop := running(t, d, m)
		defer stop()
		start := time.Now()
		synctest.Wait()
		if done := m.actions(); len(done) != 0 {
			t.Errorf("went on after a failure: %q", done)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := differs(d.state, m.state()); got != "" {
			t.Fatal(got)
		}
		if at := m.startOf("add pod default/a").Sub(start); at != 7*time.Second {
			t.Errorf("the fourth try came after %s, want 1+2+4 s", at)
		}
	})
}

// TestActionsThatComeToNothingRest: an agent that says "done" and does nothing is not asked
// all the time.
func TestActionsThatComeToNothingRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := box{name: "b", containers: []string{"c=x"}}
		d := &manifests{state: pods(box{name: "a", containers: []string{"c=x"}})}
		m := newMachines(nil)
		m.lies = true
		l, stop := running(t, d, m)
		defer stop()
		time.Sleep(10 * time.Minute) // virtual; rests are of 1, 2, 4, ... and then 20 s
		if n := len(m.actions()); n < 10 || n > 100 {
			t.Errorf("%d actions in ten minutes", n)
		}
		m.mu.Lock()
		m.lies = false
		m.mu.Unlock()
		d.state = pods(b)
		l.Wake()
		time.Sleep(time.Second)
		if got := differs(d.state, m.state()); got != "" {
			t.Error(got)
		}
	})
}

func TestStopLetsActionsFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachines(func(ctx context.Context, a Action) error {
			select {
			case <-time.After(5 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		_, stop := running(t, &manifests{state: pods(box{name: "a", containers: []string{"c=x"}})}, m)
		time.Sleep(time.Second)
		stop()
		if got := fmt.Sprint(m.actions()); got != "[add pod default/a]" {
			t.Errorf("done: %s; want the action under way and none after it", got)
		}
	})
}

func TestConverge(t *testing.T) {
	for name, c := range map[string]struct {
		boxes   []box
		actual  schema.ActualState
		prepare func(*machines)
		check   func(Report, error) bool
	}{
		"ready": {
			boxes: []box{{name: "a", containers: []string{"c=x"}}},
			check: func(r Report, err error) bool { return err == nil && r.Pods[0].Verdict.Ready },
		},
		"held by a guard": {
			actual: converged(box{name: "a", containers: []string{"c=x"}}),
			check: func(r Report, err error) bool {
				_, ok := errors.AsType[*GuardError](err)
				return ok && len(r.Holds) == 1
			},
		},
		"not in time": {
			boxes:   []box{{name: "a", containers: []string{"c=x"}}},
			prepare: func(m *machines) { m.before = func(context.Context, Action) error { return errors.New("no") } },
			check: func(r Report, err error) bool {
				late, ok := errors.AsType[*NotReadyError](err)
				return ok && len(late.Pods) == 1 && strings.Contains(err.Error(), "Broken")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachines(nil)
				maps.Copy(m.world.pods, newModel(c.actual, now).pods)
				if c.prepare != nil {
					c.prepare(m)
				}
				l := NewLoop(&manifests{state: pods(c.boxes...)}, m, Options{Log: logr.Discard()})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if r, err := l.Converge(ctx, true); !c.check(r, err) {
					t.Errorf("report %+v, error %v", r, err)
				}
			})
		})
	}
}

func TestConvergeStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachines(func(context.Context, Action) error { return errors.New("no") })
		l := NewLoop(&manifests{state: pods(box{name: "a", containers: []string{"c=x"}})}, m, Options{Log: logr.Discard()})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, cancel)
		if _, err := l.Converge(ctx, true); !errors.Is(err, ErrStopped) {
			t.Errorf("error %v", err)
		}
	})
}
