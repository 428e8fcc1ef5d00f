package reconcile

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"context"

	"github.com/go-logr/logr"
	"pgregory.net/rapid"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// recorded is a pod as it comes back from its record.
func recorded(t *testing.T, pod *schema.Pod) *schema.Pod {
	t.Helper()
	b, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	var back schema.Pod
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	return &back
}

func TestLacks(t *testing.T) {
	pod := box{name: "a", containers: []string{"c=1"}, volumes: []string{"v=files:x"}, missing: []string{"c"}}.pod()
	pod.Containers[0].Env = []schema.EnvVar{
		{Name: "A", Value: "known"},
		{Name: "B", Hidden: schema.Hide("hidden"), From: &schema.ValueSource{Secret: "s", Key: "k"}},
	}
	seen := &schema.PodStatus{Volumes: []schema.VolumeStatus{{Name: "v", Digest: "older"}}}
	hidden := recorded(t, pod)
	unavailable := *pod
	device := &unavailable
	device.Containers = []schema.Container{{Name: "c", Unavailable: []string{"device nvidia.com/gpu"}, Missing: []string{"device nvidia.com/gpu"}}}
	for name, c := range map[string]struct {
		pod    *schema.Pod
		status *schema.PodStatus
		of     string
		want   string
	}{
		"of the manifest":          {pod, nil, "c", "ConfigMap default/cm: key LEVEL"},
		"of the record":            {hidden, nil, "c", "the value of env B (Secret s), of which only the digest is known; volume v: the content of index.html, of which only the digest is known"},
		"with the volume in place": {hidden, seen, "c", "the value of env B (Secret s), of which only the digest is known"},
		"a device":                 {device, nil, "c", "device nvidia.com/gpu"},
		"a device, of the record":  {recorded(t, device), nil, "c", "device nvidia.com/gpu"},
		"no such container":        {pod, nil, "d", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(Lacks(c.pod, c.status, c.of), "; "); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestHeldPodKeepsWhatItHas: a pod known from its record alone is maintained as far as the
// values are known, and is never started with empty ones.
func TestHeldPodKeepsWhatItHas(t *testing.T) {
	b := box{name: "a", containers: []string{"c=1", "d=1"}, volumes: []string{"v=files:x"}}
	d := pods(b)
	// No document gives MISSING, nor anything of Secret all; optional ones do not matter.
	d.Pods[0].Manifest = json.RawMessage(`{"spec": {"containers": [{"name": "c", "env": [
		{"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "l"}}},
		{"name": "MISSING", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "m"}}},
		{"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "o", "optional": true}}}],
		"envFrom": [{"secretRef": {"name": "all"}}, {"secretRef": {"name": "none", "optional": true}}]}, {"name": "d"}]}}`)
	d.Pods[0].Containers[0].Env = []schema.EnvVar{{Name: "LEVEL", From: &schema.ValueSource{ConfigMap: "cm", Key: "l"}}}
	d.Pods[0].Containers[1].Env = []schema.EnvVar{{Name: "SECRET", Hidden: schema.Hide("x"), From: &schema.ValueSource{Secret: "s"}}}
	d.Pods[0].Volumes = append(d.Pods[0].Volumes, schema.Volume{Name: "none", Files: &schema.Files{Sources: []schema.FilesSource{{ConfigMap: "cm"}}}})
	held := schema.DesiredState{
		Sources: d.Sources,
		Held:    []schema.HeldPod{{Ref: d.Pods[0].Ref, Source: dir, Reason: "its manifest is not valid"}},
	}
	made := func(f func(*schema.PodStatus)) schema.ActualState {
		m := newModel(schema.ActualState{Known: true}, now.Add(-time.Hour))
		for range previewRounds {
			for _, a := range Diff(d, m.state(), Policy{}, now).Actions {
				m.apply(a)
			}
		}
		s := m.state()
		s.Pods[0].Spec = recorded(t, d.Pods[0])
		f(s.Pods[0])
		return s
	}
	for name, c := range map[string]struct {
		seen schema.ActualState
		want string
	}{
		"all runs": {made(func(*schema.PodStatus) {}), ""},
		"crashed": {made(func(s *schema.PodStatus) {
			ended(s, "c", schema.ContainerTerminated, 1, time.Hour)
			ended(s, "d", schema.ContainerTerminated, 1, time.Hour)
		}), "add container c of pod default/a: it ended with exit code 1; restartPolicy is Always\n" +
			"PENDING container d of default/a: waits for the value of env SECRET (Secret s), of which only the digest is known\n"},
		"nothing is left": {made(func(s *schema.PodStatus) { s.Containers, s.Volumes = nil, nil }),
			"PENDING volume v of default/a: waits for the content of index.html, of which only the digest is known\n" +
				"PENDING volume none of default/a: waits for the files of ConfigMap cm, which are not recorded\n" +
				"PENDING container c of default/a: waits for the value of env MISSING (ConfigMap cm), which is not recorded; the variables of Secret all, which are not recorded; volume v: the content of index.html, of which only the digest is known\n" +
				"PENDING container d of default/a: waits for the value of env SECRET (Secret s), of which only the digest is known; volume v: the content of index.html, of which only the digest is known\n"},
	} {
		t.Run(name, func(t *testing.T) {
			want := c.want + "PENDING pod a of default/a: held: its manifest is not valid\n"
			if got := show(Diff(held, c.seen, Policy{}, now)); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// TestPropertyMissing: what lacks something is neither started, nor does it make anything
// that runs end.
func TestPropertyMissing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := drawBoxes(t, "before"), drawBoxes(t, "after")
		for i := range after {
			after[i].missing = rapid.SliceOfN(rapid.SampledFrom([]string{"i0", "i1", "c0", "c1", "v0", "v1"}), 0, 3).Draw(t, "missing")
		}
		actual := converged(before...)
		perturb(t, &actual)
		desired := pods(after...)
		world := newModel(actual, now)
		for range previewRounds {
			state := world.state()
			plan := Diff(desired, state, everything, now)
			if s := broken(plan, state); s != "" {
				t.Fatal(s)
			}
			if plan.Empty() {
				return
			}
			for _, a := range plan.Actions {
				if s := hasty(desired, state, a); s != "" {
					t.Fatal(s)
				}
				world.apply(a)
			}
		}
		t.Fatal("it goes on for ever")
	})
}

// hasty says what is wrong with an action on something that lacks something, "" if nothing is.
func hasty(d schema.DesiredState, s schema.ActualState, a Action) string {
	if !slices.ContainsFunc(d.Pods, func(p *schema.Pod) bool { return p.Ref == a.Pod }) {
		return ""
	}
	c, v := a.Spec.Container(a.Name), a.Spec.Volume(a.Name)
	switch {
	case a.Type == Add && a.Kind == KindContainer && len(c.Missing) > 0, a.Type == Add && a.Kind == KindVolume && len(v.Missing) > 0:
		return a.String() + ", which lacks something"
	case a.Type == Remove && a.Kind == KindContainer && a.Replacing && len(c.Missing) > 0 && findContainer(status(&s, a.Pod.Name), a.Name).State == schema.ContainerRunning:
		return a.String() + ", which runs and could not be started again"
	}
	return ""
}

func TestConvergeWaitsForMissingData(t *testing.T) {
	b := box{name: "a", containers: []string{"c=1"}, missing: []string{"c"}}
	web := box{name: "a", containers: []string{"c=1"}, volumes: []string{"v=files:x"}}
	for name, c := range map[string]struct {
		want box
		seen schema.ActualState
		says string
	}{
		"a container": {b, schema.ActualState{Known: true}, "CreateContainerConfigError: container c waits for ConfigMap default/cm: key LEVEL"},
		"a volume": {
			with(web, func(b *box) { b.volumes, b.missing = []string{"v=files:y"}, []string{"v"} }), converged(web),
			"CreateContainerConfigError: volume v: not changed: waits for ConfigMap default/cm",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachines(nil)
				m.world = newModel(c.seen, time.Now())
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := NewLoop(&manifests{state: pods(c.want)}, m, Options{Log: logr.Discard()}).Converge(ctx, true)
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error %v", err)
				}
				d := &varying{state: pods(c.want)}
				l := NewLoop(d, m, Options{Log: logr.Discard()})
				c.want.missing = nil
				time.AfterFunc(10*time.Second, func() { d.set(l, pods(c.want)) })
				start := time.Now()
				if _, err := l.Converge(t.Context(), true); err != nil || time.Since(start) < 10*time.Second || time.Since(start) > 11*time.Second {
					t.Errorf("once it is there: %v after %s", err, time.Since(start))
				}
			})
		})
	}
}
