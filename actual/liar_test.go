package actual

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func containers(n int, name func(int) string) *agentpb.PodState {
	s := &agentpb.PodState{}
	for i := range n {
		s.Containers = append(s.Containers, &agentpb.ContainerState{Name: name(i)})
	}
	return s
}

func TestLyingAgents(t *testing.T) {
	same := func(int) string { return "main" }
	numbered := func(i int) string { return fmt.Sprintf("c%d", i) }
	tests := map[string]struct {
		says *agentpb.PodState
		want string
	}{
		"too many containers": {containers(maxContainers+1, numbered), "513 containers"},
		"one name twice":      {containers(2, same), `container "main" twice`},
		"no name":             {containers(1, func(int) string { return "" }), "which is none"},
		"path as name":        {containers(1, func(int) string { return "../x" }), "which is none"},
		"long name":           {containers(1, func(int) string { return strings.Repeat("x", 300) }), "which is none"},
		"other pod": {&agentpb.PodState{Pod: &agentpb.PodIdentity{Namespace: "default", Name: "other"}},
			`it is pod "default/other", and its machine was made for pod default/web`},
		"too many emptyDirs": {&agentpb.PodState{EmptyDirs: make([]*agentpb.EmptyDirState, maxEmptyDirs+1)}, "513 emptyDirs"},
		"emptyDir twice":     {&agentpb.PodState{EmptyDirs: []*agentpb.EmptyDirState{{Name: "a"}, {Name: "a"}}}, `emptyDir "a" twice`},
		"too many volumes":   {&agentpb.PodState{Volumes: make([]*agentpb.VolumeState, maxVolumes+1)}, "513 volumes"},
		"volume twice":       {&agentpb.PodState{Volumes: []*agentpb.VolumeState{{Name: "a"}, {Name: "a"}}}, `volume "a" twice`},
		"odd disk":           {&agentpb.PodState{Volumes: []*agentpb.VolumeState{{Name: "a", Disk: "../x"}}}, `disk "../x", which is none`},
		"long disk": {&agentpb.PodState{Containers: []*agentpb.ContainerState{
			{Name: "main", RootfsDisk: strings.Repeat("x", 21)},
		}}, "which is none"},
		"too many probes": {&agentpb.PodState{Containers: []*agentpb.ContainerState{
			{Name: "main", Probes: make([]*agentpb.ProbeState, maxProbes+1)},
		}}, "4 probes"},
		"odd probe": {&agentpb.PodState{Containers: []*agentpb.ContainerState{
			{Name: "main", Probes: []*agentpb.ProbeState{{Kind: "moody"}}},
		}}, `kind "moody", which is none`},
		"too many runs": {&agentpb.PodState{Containers: []*agentpb.ContainerState{
			{Name: "main", Runs: make([]*agentpb.Run, schema.MaxRuns+1)},
		}}, "9 runs"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, "", func(t *testing.T, p *pods) {
				pod, other := newPod("web", "sleep", "infinity"), newPod("other", "sleep", "infinity")
				p.up(pod)
				p.up(other)
				p.driver.set("web", liar{tt.says})
				p.refresh()
				if s := p.status(pod.Ref); s.Machine != schema.MachineUnknown || !strings.Contains(s.Message, tt.want) {
					t.Errorf("liar = %s, %q; want %q", s.Machine, s.Message, tt.want)
				}
				if s := p.status(other.Ref); s.Machine != schema.MachineRunning || len(p.all()) != 2 {
					t.Errorf("other = %+v", s)
				}
			})
		})
	}
}

func TestOddReportsAreTamed(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		p.up(pod)
		p.driver.set("web", liar{&agentpb.PodState{
			BootId: "b\x1b[2J", AgentVersion: strings.Repeat("v", 1<<20),
			Pod:       &agentpb.PodIdentity{Namespace: "default", Name: "web", Manifest: []byte(`{"namespace":"default","name":"other"}`)},
			EmptyDirs: []*agentpb.EmptyDirState{{Name: "data", UsedBytes: -1, SizeLimitBytes: math.MinInt64}},
			Store:     &agentpb.StoreUsage{SizeBytes: -1, UsedBytes: -5, Templates: -1},
			Containers: []*agentpb.ContainerState{{
				Name: "main", Manifest: []byte("no JSON"), Pid: -1, State: 99, ExitCode: -7,
				StartedAt: &timestamppb.Timestamp{Seconds: math.MinInt64, Nanos: -1},
				Reason:    "\x1b]0;owned\a", Message: "a\x00b\u202ec",
				Runs: []*agentpb.Run{{StartedAt: &timestamppb.Timestamp{Seconds: math.MaxInt64}}},
			}},
		}})
		p.refresh()
		s := p.status(pod.Ref)
		if s.Machine != schema.MachineRunning || s.Spec.Name != "web" || len(s.AgentVersion) > 2*maxText {
			t.Errorf("status = %.300v", s)
		}
		c := s.Containers[0]
		if c.Spec != nil || c.PID != 0 || !c.StartedAt.IsZero() || !c.Runs[0].StartedAt.IsZero() || c.State != schema.ContainerCreating {
			t.Errorf("container = %+v", c)
		}
		if e := s.EmptyDirs[0]; e.UsedBytes < 0 || e.SizeLimitBytes < 0 || s.Store.SizeBytes < 0 || s.Store.UsedBytes < 0 || s.Store.Templates < 0 {
			t.Errorf("sizes: %+v, %+v", e, s.Store)
		}
		for _, text := range []string{s.BootID, c.Reason, c.Message} {
			if strings.ContainsFunc(text, unicode.IsControl) || strings.Contains(text, "\u202e") {
				t.Errorf("%q is not fit for a terminal", text)
			}
		}
	})
}

// FuzzReport: whatever a guest reports, it is taken or refused without harm.
func FuzzReport(f *testing.F) {
	for _, s := range []*agentpb.PodState{
		{},
		containers(2, func(i int) string { return fmt.Sprint("c", i) }),
		{Pod: &agentpb.PodIdentity{Namespace: "a", Name: "b", Manifest: []byte(`{}`)}, Store: &agentpb.StoreUsage{UsedBytes: -1}},
	} {
		b, err := proto.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, report []byte, recorded bool) {
		state := &agentpb.PodState{}
		if proto.Unmarshal(report, state) != nil {
			return
		}
		m := newMachine(named("id"), 0)
		pod := newPod("web", "true")
		if recorded {
			m.made = pod
		}
		o := New(nil, nil, Options{})
		o.machines = map[string]*machine{"id": m}
		_ = o.heard(m, state) // either is fine
		all, err := o.Pods(t.Context())
		if err != nil || len(all.Pods) != 1 {
			t.Fatal(all, err)
		}
		s := all.Pods[0]
		if recorded && s.Ref != pod.Ref || !recorded && s.Ref != m.own() && !validRef(s.Ref) {
			t.Errorf("it became %q", s.Ref)
		}
	})
}
