package reconcile

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// memory hands out states as those who know what did not change do: what is the same as the
// last time is the same pointer.
type memory struct {
	pods     map[schema.Ref]*schema.Pod
	statuses map[schema.Ref]*schema.PodStatus
}

func newMemory() *memory {
	return &memory{pods: make(map[schema.Ref]*schema.Pod), statuses: make(map[schema.Ref]*schema.PodStatus)}
}

func (m *memory) desired(d schema.DesiredState) schema.DesiredState {
	d.Pods = slices.Clone(d.Pods)
	for i, p := range d.Pods {
		if was := m.pods[p.Ref]; was == nil || !reflect.DeepEqual(p, was) {
			own := *p
			m.pods[p.Ref] = &own
		}
		d.Pods[i] = m.pods[p.Ref]
	}
	return d
}

func (m *memory) actual(s schema.ActualState) schema.ActualState {
	s.Pods = slices.Clone(s.Pods)
	for i, p := range s.Pods {
		if was := m.statuses[p.Ref]; was == nil || !reflect.DeepEqual(p, was) {
			own := *p
			own.Containers = slices.Clone(p.Containers)
			m.statuses[p.Ref] = &own
		}
		s.Pods[i] = m.statuses[p.Ref]
	}
	return s
}

// ail gives pods failures, deadlines and stores worth a trim, so that time matters.
func ail(t *rapid.T, d *schema.DesiredState, s *schema.ActualState) {
	moment := func(label string) time.Time {
		return now.Add(time.Duration(rapid.IntRange(-700, 700).Draw(t, label)) * time.Second)
	}
	for _, p := range d.Pods {
		p.ActiveDeadlineSeconds = rapid.SampledFrom([]int64{0, 0, 3600, 3700, 5000}).Draw(t, "deadline")
	}
	for _, p := range s.Pods {
		if rapid.Bool().Draw(t, "fat") {
			p.Store.HostBytes, p.Store.TrimmedAt = 1<<30, moment("trimmed")
		}
		for j := range p.Containers {
			if rapid.Bool().Draw(t, "backs-off") {
				c := &p.Containers[j]
				c.FinishedAt = moment("finished")
				c.Runs = []schema.Run{{Digest: c.Digest, StartedAt: c.FinishedAt, FinishedAt: c.FinishedAt, ExitCode: c.ExitCode}}
			}
		}
		for range rapid.IntRange(0, 2).Draw(t, "failures") {
			f := schema.Failure{
				Kind: string(KindPod), Name: p.Name, At: moment("failed"), Attempts: rapid.IntRange(1, 9).Draw(t, "attempts"),
				Reason: rapid.SampledFrom([]string{schema.ReasonRemoveFailed, "BootFailed"}).Draw(t, "reason"),
			}
			if rapid.Bool().Draw(t, "container") && len(p.Containers) > 0 {
				c := rapid.SampledFrom(p.Containers).Draw(t, "failed-container")
				f.Kind, f.Name, f.Digest = string(KindContainer), c.Name, c.Digest
			}
			p.Failures = append(p.Failures, f)
		}
	}
}

// TestPropertyPlanner: whatever a planner remembers, it plans what Diff does.
func TestPropertyPlanner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if s := remembersRightly(t, func(*planner) {}); s != "" {
			t.Fatal(s)
		}
	})
}

// TestPropertyPlannerCatchesWhatIsStale: the property finds a planner that forgets the time.
func TestPropertyPlannerCatchesWhatIsStale(t *testing.T) {
	timeless := func(p *planner) {
		for _, known := range p.pairs {
			known.plan.turn = time.Time{}
		}
	}
	found := false
	for seed := range 1000 {
		found = found || rapid.Custom(func(t *rapid.T) string { return remembersRightly(t, timeless) }).Example(seed) != ""
	}
	if !found {
		t.Error("the property holds for it")
	}
}

// remembersRightly takes a planner through some rounds, with something done to it after each;
// it says where it differs from Diff.
func remembersRightly(t *rapid.T, after func(*planner)) string {
	p, seen := new(planner), newMemory()
	desired, actual := pods(drawBoxes(t, "first")...), converged(drawBoxes(t, "before")...)
	at := now
	for round := range rapid.IntRange(2, 8).Draw(t, "rounds") {
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0:
			desired = pods(drawBoxes(t, "after")...)
		case 1:
			actual = newModel(actual, at).state()
			perturb(t, &actual)
		case 2:
			actual = newModel(actual, at).state()
			ail(t, &desired, &actual)
		case 3:
			world := newModel(actual, at)
			for _, a := range Diff(desired, actual, everything, at).Actions {
				world.apply(a)
			}
			actual = world.state()
		case 4:
			for _, ref := range drawHeld(t) {
				desired.Held = append(desired.Held, schema.HeldPod{Ref: ref, Source: dir, Reason: "why"})
			}
		}
		at = at.Add(time.Duration(rapid.IntRange(-100, 400).Draw(t, "passes")) * time.Second)
		policy := rapid.SampledFrom([]Policy{everything, everything, everything, {}}).Draw(t, "policy")
		d, s := seen.desired(desired), seen.actual(actual)
		if got, want := p.plan(d, s, policy, at), Diff(d, s, policy, at); !reflect.DeepEqual(got, want) {
			return fmt.Sprintf("round %d\n%s\nwant\n%s", round, show(got), show(want))
		}
		after(p)
	}
	return ""
}

func drawHeld(t *rapid.T) (refs []schema.Ref) {
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 4, rapid.ID[string]).Draw(t, "held") {
		refs = append(refs, schema.Ref{Namespace: "default", Name: name})
	}
	return refs
}

// TestPlannerForgets: nothing is kept of pods that are gone.
func TestPlannerForgets(t *testing.T) {
	p, seen := new(planner), newMemory()
	first := []box{{name: "a", containers: []string{"c=i:1"}}, {name: "b", containers: []string{"c=i:1"}}}
	p.plan(seen.desired(pods(first...)), seen.actual(converged(first...)), everything, now)
	if len(p.pairs) != 2 {
		t.Fatalf("%d pairs", len(p.pairs))
	}
	p.plan(seen.desired(pods(first[1:]...)), seen.actual(converged(first[1:]...)), everything, now)
	if len(p.pairs) != 1 {
		t.Errorf("%d pairs", len(p.pairs))
	}
}

// BenchmarkPlanner plans 10,000 pods of two containers of which nothing or one changed.
func BenchmarkPlanner(b *testing.B) {
	const n = 10_000
	var boxes []box
	for i := range n {
		boxes = append(boxes, box{name: fmt.Sprintf("p%05d", i), containers: []string{"a=i:1", "b=i:1"}})
	}
	seen := newMemory()
	desired, actual := seen.desired(pods(boxes...)), seen.actual(converged(boxes...))
	changed := desired
	changed.Pods = slices.Clone(desired.Pods)
	pod := *desired.Pods[n/2]
	pod.Containers = []schema.Container{{Name: "a", Image: "i:2"}, pod.Containers[1]}
	for name, one := range map[string]bool{"unchanged": false, "one-changed": true} {
		b.Run("pods=10000/"+name, func(b *testing.B) {
			p := new(planner)
			p.plan(desired, actual, Policy{}, now)
			b.ReportAllocs()
			for b.Loop() {
				if one {
					another := pod
					changed.Pods[n/2] = &another
					if plan := p.plan(changed, actual, Policy{}, now); len(plan.Actions) != 1 {
						b.Fatal(show(plan))
					}
					continue
				}
				p.plan(desired, actual, Policy{}, now)
			}
		})
	}
}
