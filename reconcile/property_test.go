package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// The properties are judged by the model of the world and by direct comparison of
// what is with what should be, never by asking the planner again whether it is done.

// drawBoxes draws a small desired state; names and images repeat, so that states differ
// by changes and not only by additions.
func drawBoxes(t *rapid.T, label string) []box {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 4, rapid.ID[string]).Draw(t, label)
	var list []box
	for _, name := range names {
		b := box{
			name:   name,
			memory: rapid.SampledFrom([]int64{256 << 20, 512 << 20}).Draw(t, label+"-memory"),
			policy: rapid.SampledFrom([]schema.RestartPolicy{schema.RestartAlways, schema.RestartOnFailure, schema.RestartNever}).Draw(t, label+"-policy"),
		}
		draw := func(prefix string, least int) (words []string) {
			for i := range rapid.IntRange(least, 3).Draw(t, label+prefix) {
				word := fmt.Sprintf("%s%d=i:%d", prefix, i, rapid.IntRange(1, 2).Draw(t, label+"-image"))
				if prefix == "i" && rapid.Bool().Draw(t, label+"-sidecar") {
					word = "+" + word
				}
				words = append(words, word)
			}
			return words
		}
		b.inits, b.containers = draw("i", 0), draw("c", 1)
		for i := range rapid.IntRange(0, 2).Draw(t, label+"-volumes") {
			b.volumes = append(b.volumes, fmt.Sprintf("v%d=%s", i, rapid.SampledFrom([]string{
				"", "Memory", "files:a", "files:b", "claim:1", "claim:2", "ephemeral:1", "ephemeral:2", "image:x",
			}).Draw(t, label+"-medium")))
		}
		if b.policy != schema.RestartAlways && rapid.Bool().Draw(t, label+"-job") {
			// As many as no world of these tests fails, or none.
			b.job = &schema.Job{Name: "j", BackoffLimit: rapid.SampledFrom([]int{0, 6}).Draw(t, label+"-limit"), Parallelism: rapid.IntRange(1, 4).Draw(t, label+"-parallelism")}
		}
		list = append(list, b)
	}
	return list
}

// perturb ends containers and machines at random.
func perturb(t *rapid.T, s *schema.ActualState) {
	for _, p := range s.Pods {
		p.Machine = rapid.SampledFrom([]schema.MachineState{
			schema.MachineRunning, schema.MachineRunning, schema.MachineRunning, schema.MachineDead, schema.MachineUnknown,
		}).Draw(t, "machine")
		for j := range p.Containers {
			c := &p.Containers[j]
			c.State = rapid.SampledFrom([]schema.ContainerState{
				c.State, c.State, schema.ContainerExited, schema.ContainerTerminated,
			}).Draw(t, "state")
			c.ExitCode = rapid.IntRange(0, 1).Draw(t, "code")
			c.FinishedAt = now.Add(-time.Hour)
		}
	}
}

// broken says what is wrong with a plan whatever the world is like, "" if nothing is.
func broken(plan Plan, actual schema.ActualState) string {
	objects := make(map[string]bool)
	for _, a := range plan.Actions {
		key := fmt.Sprint(a.Pod, a.Kind, a.Name)
		if objects[key] {
			return "two actions on " + key
		}
		objects[key] = true
		if a.Cause == "" {
			return "no cause: " + a.String()
		}
		for _, p := range actual.Pods {
			if p.Ref == a.Pod && p.Machine == schema.MachineUnknown {
				return "action on a pod whose machine is unknown: " + a.String()
			}
		}
	}
	return ""
}

// differs says how a pod that was seen is not as desired, "" if it is. It compares
// directly, and knows nothing of the rules that lead there.
func differs(d schema.DesiredState, s schema.ActualState) string {
	seen := make(map[schema.Ref]*schema.PodStatus)
	for _, p := range s.Pods {
		seen[p.Ref] = p
	}
	for _, pod := range d.Pods {
		p, ok := seen[pod.Ref]
		delete(seen, pod.Ref)
		switch {
		case !ok && pod.Job != nil && working(d, s) >= pod.Job.Parallelism:
			continue // it is not its turn
		case !ok:
			return pod.Name + " is missing"
		case p.VMDigest != pod.VMDigest():
			return pod.Name + " has the wrong VM"
		case pod.Job != nil && gaveUp(pod, p.Containers):
			continue
		case len(p.EmptyDirs) != len(pod.EmptyDirs):
			return fmt.Sprintf("%s has %d emptyDirs", pod.Name, len(p.EmptyDirs))
		case len(p.Volumes) != len(pod.Volumes):
			return fmt.Sprintf("%s has %d volumes", pod.Name, len(p.Volumes))
		}
		if why := containersDiffer(pod, p.Containers); why != "" {
			return pod.Name + why
		}
		for _, v := range p.Volumes {
			if want := pod.Volume(v.Name); want == nil || want.Digest() != v.Digest {
				return pod.Name + "/" + v.Name + " is of another spec"
			}
		}
		for _, e := range p.EmptyDirs {
			if want := pod.EmptyDir(e.Name); want == nil || want.Digest() != e.Digest {
				return pod.Name + "/" + e.Name + " is of another spec"
			}
		}
	}
	if len(seen) > 0 {
		return fmt.Sprintf("%d pods too many", len(seen))
	}
	return ""
}

// gaveUp tells whether a pod of a Job that allows no failure has one, and nothing runs.
func gaveUp(pod *schema.Pod, list []schema.ContainerStatus) bool {
	failed := false
	for _, c := range list {
		if c.State != schema.ContainerTerminated {
			return false
		}
		want := pod.Container(c.Name)
		failed = failed || want != nil && !want.Sidecar && want.Digest() == c.Digest && c.ExitCode != 0
	}
	return failed && pod.Job.BackoffLimit == 0
}

// goesOn tells whether a container that is no sidecar runs.
func goesOn(pod *schema.Pod, list []schema.ContainerStatus) bool {
	return slices.ContainsFunc(list, func(c schema.ContainerStatus) bool {
		want := pod.Container(c.Name)
		return c.State == schema.ContainerRunning && want != nil && !want.Sidecar
	})
}

// working counts the pods of the one Job of these tests in which something runs.
func working(d schema.DesiredState, s schema.ActualState) (n int) {
	for _, p := range s.Pods {
		i := slices.IndexFunc(d.Pods, func(pod *schema.Pod) bool { return pod.Ref == p.Ref && pod.Job != nil })
		if i >= 0 && slices.ContainsFunc(p.Containers, func(c schema.ContainerStatus) bool { return c.State == schema.ContainerRunning }) {
			n++
		}
	}
	return n
}

// containersDiffer says how the containers of a pod are not as desired.
func containersDiffer(pod *schema.Pod, list []schema.ContainerStatus) string {
	seen := make(map[string]schema.ContainerStatus)
	ended := true
	for _, c := range list {
		seen[c.Name] = c
		want := pod.Container(c.Name)
		if want == nil || want.Digest() != c.Digest {
			return "/" + c.Name + " is of another spec"
		}
		over := c.State == schema.ContainerTerminated
		if pod.Job != nil && over && !want.Sidecar && c.ExitCode != 0 && (pod.RestartPolicy != schema.RestartNever || !goesOn(pod, list)) {
			return "/" + c.Name + " has failed and is not tried again"
		}
		if !c.Init {
			ended = ended && over && !restarts(pod.RestartPolicy, c.ExitCode)
		}
	}
	for _, want := range slices.Concat(pod.InitContainers, pod.Containers) {
		c, ok := seen[want.Name]
		over := ok && c.State == schema.ContainerTerminated
		switch {
		case want.Sidecar && ended && (!ok || over):
		case want.Sidecar && ended:
			return "/" + want.Name + " runs on in a pod that has ended"
		case !ok:
			return "/" + want.Name + " is missing"
		case want.Sidecar || !c.Init:
			if c.State != schema.ContainerRunning && (want.Sidecar || !over || restarts(pod.RestartPolicy, c.ExitCode)) {
				return "/" + want.Name + " does not run"
			}
		case !over || c.ExitCode != 0:
			return "/" + want.Name + " has not initialised"
		}
	}
	return ""
}

// everything lets nothing be held by a guard.
var everything = Policy{AllowEmpty: true, MaxRemovals: Budget{unitPercent, 100}}

// diffFunc is Diff, or a broken version of it.
type diffFunc func(schema.DesiredState, schema.ActualState, Policy, time.Time) Plan

// converges draws two worlds and goes from one to the other; it says what is wrong.
func converges(t *rapid.T, diff diffFunc) string {
	before, after := drawBoxes(t, "before"), drawBoxes(t, "after")
	actual := converged(before...)
	perturb(t, &actual)
	for _, p := range actual.Pods {
		// What is unknown stays so for ever in the model; TestUnknown covers it.
		if p.Machine == schema.MachineUnknown {
			p.Machine = schema.MachineDead
		}
		for j := range p.Containers {
			// A pod that has failed for good is an end too; here all init containers end well.
			if c := &p.Containers[j]; c.Init {
				c.ExitCode = 0
			}
		}
	}
	desired := pods(after...)
	world := newModel(actual, now)
	for range previewRounds {
		state := world.state()
		plan := diff(desired, state, everything, now)
		if s := broken(plan, state); s != "" {
			return s
		}
		if plan.Empty() {
			return differs(desired, state)
		}
		for _, a := range plan.Actions {
			world.apply(a)
		}
	}
	return "it goes on for ever"
}

func TestPropertyConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if s := converges(t, Diff); s != "" {
			t.Fatal(s)
		}
	})
}

// TestPropertyUnknown: whatever cannot be read, nothing of it is removed.
func TestPropertyUnknown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		actual := converged(drawBoxes(t, "before")...)
		perturb(t, &actual)
		desired := pods(drawBoxes(t, "after")...)
		switch rapid.IntRange(0, 3).Draw(t, "unknown") {
		case 0:
			desired.Sources[0].Known = false
		case 1:
			desired.Sources[0].HeldFiles = []string{"/m/x.yaml"}
		case 2:
			actual.Known = false
		case 3:
			for _, p := range actual.Pods {
				desired.Held = append(desired.Held, schema.HeldPod{Ref: p.Ref, Source: dir, Reason: "why"})
			}
		}
		plan := Diff(desired, actual, everything, now)
		if s := broken(plan, actual); s != "" {
			t.Fatal(s)
		}
		for _, a := range plan.Actions {
			if a.Type == Remove && a.Kind == KindPod && !a.Replacing {
				t.Fatalf("%s, though it is not known to be unwanted", a)
			}
		}
	})
}

// TestPropertiesCatchBrokenPlanners plants bugs, each of which the properties must find.
func TestPropertiesCatchBrokenPlanners(t *testing.T) {
	without := func(drop func(Action) bool) diffFunc {
		return func(d schema.DesiredState, a schema.ActualState, p Policy, now time.Time) Plan {
			plan := Diff(d, a, p, now)
			plan.Actions = slices.DeleteFunc(plan.Actions, drop)
			return plan
		}
	}
	for name, diff := range map[string]diffFunc{
		"forgets waits":           without(func(a Action) bool { return a.Type == Wait }),
		"forgets to remove pods":  without(func(a Action) bool { return a.Type == Remove && a.Kind == KindPod && !a.Replacing }),
		"forgets changed volumes": without(func(a Action) bool { return a.Type == Remove && a.Kind == KindEmptyDir }),
		"forgets changed specs":   without(func(a Action) bool { return a.Kind == KindContainer && strings.Contains(a.Cause, "image") }),
		"forgets changed files":   without(func(a Action) bool { return strings.HasPrefix(a.Cause, "its files changed") }),
		"forgets other volumes":   without(func(a Action) bool { return a.Type == Remove && a.Kind == KindVolume }),
		"lets sidecars run on":    without(func(a Action) bool { return strings.HasPrefix(a.Cause, "all containers of the pod") }),
		"never tries Jobs again":  without(func(a Action) bool { return strings.HasPrefix(a.Cause, "try ") }),
		"forgets init containers": without(func(a Action) bool { return a.Kind == KindContainer && strings.HasPrefix(a.Name, "i") }),
		"says everything twice": func(d schema.DesiredState, a schema.ActualState, p Policy, now time.Time) Plan {
			plan := Diff(d, a, p, now)
			plan.Actions = append(plan.Actions, plan.Actions...)
			return plan
		},
		"never sees dead machines": without(func(a Action) bool { return strings.Contains(a.Cause, "died") }),
	} {
		t.Run(name, func(t *testing.T) {
			found := false
			// An Example is one draw; the bug has to show in some of a thousand.
			for seed := range 1000 {
				found = found || rapid.Custom(func(t *rapid.T) string { return converges(t, diff) }).Example(seed) != ""
			}
			if !found {
				t.Error("the properties hold for it")
			}
		})
	}
}
