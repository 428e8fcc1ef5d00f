package reconcile

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

var update = flag.Bool("update", false, "write the golden plans")

// scenario is one case of the rules in Diff, diffPod and inside.
type scenario struct {
	name    string
	desired schema.DesiredState
	actual  schema.ActualState
	policy  Policy
}

// change returns v after f.
func change[T any](v T, f func(*T)) T {
	f(&v)
	return v
}

func scenarios() []scenario {
	web := box{name: "web", containers: []string{"a=i:1", "b=i:1"}, volumes: []string{"data"}}
	with := change[box]
	running := func(f func(*schema.PodStatus), boxes ...box) schema.ActualState {
		return change(converged(boxes...), func(a *schema.ActualState) { f(a.Pods[0]) })
	}
	job := box{name: "job", inits: []string{"x=i:1", "y=i:1"}, containers: []string{"a=i:1"}, policy: schema.RestartOnFailure}
	prepared := with(web, func(b *box) { b.inits = []string{"x=i:1"} })
	boxes := func(n int) (list []box) {
		for i := range n {
			list = append(list, box{name: string(rune('a' + i)), containers: []string{"c=i:1"}})
		}
		return list
	}
	none := schema.ActualState{Known: true}
	failure := func(kind Kind, name, digest string, attempts int) schema.Failure {
		return schema.Failure{Kind: string(kind), Name: name, Digest: digest, Attempts: attempts, At: now, Reason: "Why", Message: "because"}
	}
	pod := web.pod()
	return append([]scenario{
		{"machines not listed", pods(web), schema.ActualState{Reason: "no"}, Policy{}},
		{"fresh pod", pods(web), none, Policy{}},
		{"fresh pod with init containers", pods(job), none, Policy{}},
		{"converged", pods(web, job), converged(web, job), Policy{}},
		{"image changed", pods(with(web, func(b *box) { b.containers = []string{"a=i:2", "b=i:1"} })), converged(web), Policy{}},
		{"container added and removed", pods(with(web, func(b *box) { b.containers = []string{"b=i:1", "c=i:1"} })), converged(web), Policy{}},
		{"memory changed", pods(with(web, func(b *box) { b.memory = 512 << 20 })), converged(web), Policy{}},
		{"emptyDir changed", pods(with(web, func(b *box) { b.volumes = []string{"data=Memory"} })), converged(web), Policy{}},
		{"emptyDir removed", pods(with(web, func(b *box) { b.volumes = nil })), converged(web), Policy{}},
		{"init container changed", pods(with(job, func(b *box) { b.inits = []string{"x=i:2", "y=i:1"} })), converged(job), Policy{}},
		{"init container inserted", pods(with(job, func(b *box) { b.inits = []string{"x=i:1", "new=i:1", "y=i:1"} })), converged(job), Policy{}},
		{"init container running", pods(job), running(func(s *schema.PodStatus) {
			s.Containers = s.Containers[:1]
			s.Containers[0].State = schema.ContainerRunning
		}, job), Policy{}},
		{"init container exited", pods(job), running(func(s *schema.PodStatus) {
			s.Containers = s.Containers[:1]
			ended(s, "x", schema.ContainerExited, 0)
		}, job), Policy{}},
		{"init container failed and backs off", pods(job), running(func(s *schema.PodStatus) {
			s.Containers = s.Containers[:1]
			ended(s, "x", schema.ContainerTerminated, 1, time.Second)
		}, job), Policy{}},
		{"init container failed for good", pods(with(job, func(b *box) { b.policy = schema.RestartNever })), running(func(s *schema.PodStatus) {
			s.Containers = s.Containers[:1]
			ended(s, "x", schema.ContainerTerminated, 1, time.Second)
		}, with(job, func(b *box) { b.policy = schema.RestartNever })), Policy{}},
		{"container exited", pods(web), running(func(s *schema.PodStatus) { ended(s, "a", schema.ContainerExited, 3) }, web), Policy{}},
		{"all containers exited", pods(web), running(func(s *schema.PodStatus) {
			ended(s, "a", schema.ContainerExited, 3)
			ended(s, "b", schema.ContainerExited, 0)
		}, web), Policy{}},
		{"emptyDir changed under an init container", pods(with(prepared, func(b *box) { b.volumes = []string{"data=Memory"} })), converged(prepared), Policy{}},
		{"restart after the first crash waits 10 s", pods(web), running(func(s *schema.PodStatus) { ended(s, "a", schema.ContainerTerminated, 3, time.Second) }, web), Policy{}},
		{"restart after the third crash waits 40 s", pods(web), running(func(s *schema.PodStatus) {
			ended(s, "a", schema.ContainerTerminated, 3, time.Second, time.Second, time.Second)
		}, web), Policy{}},
		{"restart waits 300 s at most", pods(web), running(func(s *schema.PodStatus) {
			ended(s, "a", schema.ContainerTerminated, 3, slices.Repeat([]time.Duration{time.Second}, schema.MaxRuns)...)
		}, web), Policy{}},
		{"restart at once after ten minutes up", pods(web), running(func(s *schema.PodStatus) {
			ended(s, "a", schema.ContainerTerminated, 3, time.Second, 10*time.Minute)
		}, web), Policy{}},
		{"OnFailure leaves a success alone", pods(job), running(func(s *schema.PodStatus) { ended(s, "a", schema.ContainerTerminated, 0, time.Hour) }, job), Policy{}},
		{"OnFailure restarts a failure", pods(job), running(func(s *schema.PodStatus) { ended(s, "a", schema.ContainerTerminated, 1, time.Hour) }, job), Policy{}},
		{"Never restarts nothing", pods(with(web, func(b *box) { b.policy = schema.RestartNever })), running(func(s *schema.PodStatus) {
			ended(s, "a", schema.ContainerTerminated, 1, time.Hour)
		}, with(web, func(b *box) { b.policy = schema.RestartNever })), Policy{}},
		{"changed container that crashed is replaced at once", pods(with(web, func(b *box) { b.containers = []string{"a=i:2", "b=i:1"} })), running(func(s *schema.PodStatus) {
			ended(s, "a", schema.ContainerTerminated, 3, time.Second)
		}, web), Policy{}},
		{"machine unknown", pods(with(web, func(b *box) { b.memory = 1 << 30 })), running(func(s *schema.PodStatus) { s.Machine = schema.MachineUnknown; s.Message = "silence" }, web), Policy{}},
		{"machine unknown and not wanted", pods(boxes(3)[:2]...), change(converged(boxes(3)...), func(a *schema.ActualState) {
			status(a, "c").Machine = schema.MachineUnknown
		}), Policy{}},
		{"machine dead", pods(web), running(func(s *schema.PodStatus) { s.Machine = schema.MachineDead; s.Message = "qemu was killed" }, web), Policy{}},
		{"machine not set up", pods(web), running(func(s *schema.PodStatus) { s.Configured = false }, web), Policy{}},
		{"boot failed and backs off", pods(web), schema.ActualState{Known: true, Pods: []*schema.PodStatus{{
			Ref: pod.Ref, Source: dir, Machine: schema.MachineAbsent, Failures: []schema.Failure{failure(KindPod, "web", pod.VMDigest(), 3)},
		}}}, Policy{}},
		{"image failed and backs off", pods(web), running(func(s *schema.PodStatus) {
			s.Containers = s.Containers[1:]
			s.Failures = []schema.Failure{failure(KindContainer, "a", pod.Containers[0].Digest(), 2)}
		}, web), Policy{}},
		{"a failure of an older spec does not count", pods(web), running(func(s *schema.PodStatus) {
			s.Containers = s.Containers[1:]
			s.Failures = []schema.Failure{failure(KindContainer, "a", "sha256:other", 9)}
		}, web), Policy{}},
		{"one pod gone", pods(boxes(3)[:2]...), converged(boxes(3)...), Policy{}},
		{"pod that never started is gone", pods(boxes(1)...), change(converged(boxes(1)...), func(a *schema.ActualState) {
			a.Pods = append(a.Pods, &schema.PodStatus{Ref: schema.Ref{Namespace: "default", Name: "z"}, Source: dir, Machine: schema.MachineAbsent})
		}), Policy{}},
		{"pod of another source", change(pods(boxes(1)...), func(*schema.DesiredState) {}), change(converged(boxes(2)...), func(a *schema.ActualState) {
			status(a, "b").Source = "/other"
		}), Policy{}},
		{"two sources claim one pod", pods(web), running(func(s *schema.PodStatus) { s.Source = "/other" }, web), Policy{}},
		{"no prune", change(pods(boxes(1)...), func(d *schema.DesiredState) { d.Sources[0].Prune = false }), converged(boxes(2)...), Policy{}},
		{"source unknown", change(pods(), func(d *schema.DesiredState) {
			d.Sources[0] = schema.SourceState{Path: dir, Reason: "permission denied", Prune: true}
		}), converged(boxes(2)...), Policy{}},
		{"the file a pod came from has errors", change(pods(boxes(1)...), func(d *schema.DesiredState) { d.Sources[0].Unclear = []string{"/m/b.yaml"} }), converged(boxes(2)...), Policy{}},
		{"a file that cannot be used", change(pods(boxes(1)...), func(d *schema.DesiredState) { d.Sources[0].HeldFiles = []string{"/m/x.yaml"} }), converged(boxes(2)...), Policy{}},
		{"held pod stays and is maintained", change(pods(boxes(1)...), func(d *schema.DesiredState) {
			d.Held = []schema.HeldPod{{Ref: schema.Ref{Namespace: "default", Name: "b"}, Source: dir, Reason: "its manifest is not valid"}}
		}), change(converged(boxes(2)...), func(a *schema.ActualState) { ended(status(a, "b"), "c", schema.ContainerTerminated, 1, time.Hour) }), Policy{}},
		{"directory turned empty", pods(), converged(boxes(2)...), Policy{}},
		{"directory turned empty, allowed", pods(), converged(boxes(2)...), Policy{AllowEmpty: true}},
		{"more than half would go", pods(boxes(1)...), converged(boxes(4)...), Policy{}},
		{"half may go", pods(boxes(2)...), converged(boxes(4)...), Policy{}},
		{"a count allows more", pods(boxes(1)...), converged(boxes(4)...), Policy{MaxRemovals: Budget{unitPods, 3}}},
		{"0% allows one that is not the last", pods(boxes(1)...), converged(boxes(2)...), Policy{MaxRemovals: Budget{unitPercent, 0}}},
		{"the last one is held", change(pods(), func(d *schema.DesiredState) { d.Sources[0].Empty = false }), converged(boxes(1)...), Policy{}},
		{"trim when worth it", pods(web), running(func(s *schema.PodStatus) { s.Store = schema.StoreStatus{HostBytes: 300 << 20, UsedBytes: 100 << 20} }, web), Policy{}},
		{"trimmed a moment ago", pods(web), running(func(s *schema.PodStatus) {
			s.Store = schema.StoreStatus{HostBytes: 300 << 20, UsedBytes: 100 << 20, TrimmedAt: now.Add(-time.Minute)}
		}, web), Policy{}},
		{"no trim", pods(web), running(func(s *schema.PodStatus) { s.Store = schema.StoreStatus{HostBytes: 300 << 20} }, web), Policy{NoTrim: true}},
	}, slices.Concat(volumeScenarios(), sidecarScenarios(), jobScenarios(), missingScenarios())...)
}

func TestDiffGolden(t *testing.T) {
	var got strings.Builder
	for _, s := range scenarios() {
		got.WriteString("## " + s.name + "\n" + show(Diff(s.desired, s.actual, s.policy, now)) + "\n")
	}
	file := filepath.Join("testdata", "plans.golden")
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("plans changed (-want +got); look at each, then run with -update:\n%s", diff)
	}
}

// TestDiffInputOrder shuffles all inputs: the plan must be equal.
func TestDiffInputOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, s := range scenarios() {
		want := Diff(s.desired, s.actual, s.policy, now)
		for range 50 {
			d, a := s.desired, s.actual
			d.Pods, a.Pods, d.Held = slices.Clone(d.Pods), slices.Clone(a.Pods), slices.Clone(d.Held)
			shuffle(r, d.Pods)
			shuffle(r, d.Held)
			shuffle(r, a.Pods)
			for i := range a.Pods {
				p := *a.Pods[i]
				p.Containers, p.EmptyDirs, p.Volumes = slices.Clone(p.Containers), slices.Clone(p.EmptyDirs), slices.Clone(p.Volumes)
				shuffle(r, p.Volumes)
				shuffle(r, p.Containers)
				shuffle(r, p.EmptyDirs)
				a.Pods[i] = &p
			}
			if got := Diff(d, a, s.policy, now); show(got) != show(want) {
				t.Fatalf("%s: the plan depends on the order of inputs:\n%s\nwant:\n%s", s.name, show(got), show(want))
			}
		}
	}
}

func shuffle[T any](r *rand.Rand, s []T) {
	r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

// TestDiffLeavesInputsAlone proves purity towards its arguments.
func TestDiffLeavesInputsAlone(t *testing.T) {
	for i, s := range scenarios() {
		Diff(s.desired, s.actual, s.policy, now)
		if fresh := scenarios()[i]; !reflect.DeepEqual(s.desired, fresh.desired) || !reflect.DeepEqual(s.actual, fresh.actual) {
			t.Errorf("%s: the inputs were changed", s.name)
		}
	}
}

func TestCauseHidesValues(t *testing.T) {
	old := schema.Container{Name: "a", Image: "i", Env: []schema.EnvVar{{Name: "TOKEN", Value: "hunter2"}}}
	now := schema.Container{Name: "a", Image: "i", Env: []schema.EnvVar{{Name: "TOKEN", Value: "swordfish"}, {Name: "NEW"}}}
	if got, want := containerChange(&old, &now), "env NEW, TOKEN changed"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParseBudget(t *testing.T) {
	for in, want := range map[string]string{"0": "0", "3": "3", "0%": "0%", "100%": "100%"} {
		if b, err := ParseBudget(in); err != nil || b.String() != want {
			t.Errorf("%q: %v, %v", in, b, err)
		}
	}
	for _, in := range []string{"", "%", "-1", "101%", "x", "1.5"} {
		if b, err := ParseBudget(in); err == nil {
			t.Errorf("%q is read as %v", in, b)
		}
	}
}

func TestForesee(t *testing.T) {
	web := box{name: "web", containers: []string{"a=i:1"}, volumes: []string{"data"}}
	bigger := web
	bigger.memory = 1 << 30
	job := box{name: "job", inits: []string{"x=i:1", "y=i:1"}, containers: []string{"a=i:1"}}
	for name, c := range map[string]struct {
		desired schema.DesiredState
		actual  schema.ActualState
		want    []string
		summary Summary
	}{
		"nothing": {pods(web), converged(web), nil, Summary{}},
		"replace": {pods(bigger), converged(web), []string{
			"replace pod default/web", "add emptyDir data of pod default/web", "add container a of pod default/web",
		}, Summary{Add: 2, Replace: 1}},
		"init containers": {pods(job), schema.ActualState{Known: true}, []string{
			"add pod default/job", "add container x of pod default/job", "wait container x of pod default/job",
			"add container y of pod default/job", "wait container y of pod default/job", "add container a of pod default/job",
		}, Summary{Add: 4, Wait: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			p := Foresee(c.desired, c.actual, Policy{}, now)
			var got []string
			for _, a := range p.Actions {
				got = append(got, a.String())
			}
			if !slices.Equal(got, c.want) || p.Summary != c.summary {
				t.Errorf("%q %+v\nwant %q %+v", got, p.Summary, c.want, c.summary)
			}
		})
	}
}

func BenchmarkDiff(b *testing.B) {
	const n = 10_000
	var boxes []box
	for i := range n {
		boxes = append(boxes, box{name: string([]rune{rune('a' + i%26), rune('a' + i/26%26), rune('a' + i/676)}), containers: []string{"a=i:1", "b=i:1"}})
	}
	desired, actual := pods(boxes...), converged(boxes...)
	changed := desired
	changed.Pods = slices.Clone(desired.Pods)
	other := *desired.Pods[n/2]
	other.Containers = []schema.Container{{Name: "a", Image: "i:2"}, other.Containers[1]}
	changed.Pods[n/2] = &other
	for name, d := range map[string]schema.DesiredState{"unchanged": desired, "one-changed": changed} {
		b.Run("pods=10000/"+name, func(b *testing.B) {
			for b.Loop() {
				Diff(d, actual, Policy{}, now)
			}
		})
	}
}
