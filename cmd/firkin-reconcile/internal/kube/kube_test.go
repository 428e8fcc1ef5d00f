package kube

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)

// pod returns a running machine's pod with the given containers' statuses.
func pod(policy schema.RestartPolicy, containers ...schema.ContainerStatus) *schema.PodStatus {
	s := &schema.PodStatus{
		Ref: schema.Ref{Namespace: "default", Name: "web"}, UID: "u", Machine: schema.MachineRunning, Configured: true, StartedAt: now,
		Spec: &schema.Pod{RestartPolicy: policy},
	}
	for _, c := range containers {
		c.ID = c.Name + "-1"
		spec := schema.Container{Name: c.Name, Image: "bb:1"}
		c.Digest = spec.Digest()
		if c.Init {
			s.Spec.InitContainers = append(s.Spec.InitContainers, spec)
		} else {
			s.Spec.Containers = append(s.Spec.Containers, spec)
		}
		if c.State != "" {
			s.Containers = append(s.Containers, c)
		}
	}
	return s
}

func running(name string) schema.ContainerStatus {
	return schema.ContainerStatus{Name: name, State: schema.ContainerRunning, StartedAt: now, Started: true, Ready: true}
}

func endedWith(name string, code int) schema.ContainerStatus {
	return schema.ContainerStatus{Name: name, State: schema.ContainerTerminated, ExitCode: code, StartedAt: now, FinishedAt: now}
}

func initial(c schema.ContainerStatus) schema.ContainerStatus {
	c.Init = true
	return c
}

func absent(name string) schema.ContainerStatus { return schema.ContainerStatus{Name: name} }

func TestPhaseAndColumns(t *testing.T) {
	pulling := pod(schema.RestartAlways, absent("a"))
	pulling.Failures = []schema.Failure{{Kind: "container", Name: "a", Reason: "ErrImagePull", Attempts: 1}}
	backingOff := pod(schema.RestartAlways, absent("a"))
	backingOff.Failures = []schema.Failure{{Kind: "container", Name: "a", Reason: "ErrImagePull", Attempts: 3}}
	unknown := pod(schema.RestartAlways, running("a"))
	unknown.Machine = schema.MachineUnknown
	dead := pod(schema.RestartAlways, absent("a"))
	dead.Machine = schema.MachineDead
	bootFailed := pod(schema.RestartAlways, absent("a"))
	bootFailed.Machine, bootFailed.Failures = schema.MachineAbsent, []schema.Failure{{Kind: "pod", Name: "web", Reason: "BootFailed"}}
	for name, test := range map[string]struct {
		pod           *schema.PodStatus
		phase         Phase
		status, ready string
	}{
		"all run":                {pod(schema.RestartAlways, running("a"), running("b")), Running, "Running", "2/2"},
		"one to come":            {pod(schema.RestartAlways, running("a"), absent("b")), Running, "ContainerCreating", "1/2"},
		"init to come":           {pod(schema.RestartAlways, initial(absent("i")), absent("a")), Pending, "Init:0/1", "0/1"},
		"second init runs":       {pod(schema.RestartAlways, initial(endedWith("i", 0)), initial(running("j")), absent("a")), Pending, "Init:1/2", "0/1"},
		"init done":              {pod(schema.RestartAlways, initial(endedWith("i", 0)), running("a")), Running, "Running", "1/1"},
		"init fails for good":    {pod(schema.RestartNever, initial(endedWith("i", 3)), absent("a")), Failed, "Init:Error", "0/1"},
		"init fails again":       {pod(schema.RestartAlways, initial(endedWith("i", 3)), absent("a")), Pending, "Init:CrashLoopBackOff", "0/1"},
		"succeeded":              {pod(schema.RestartNever, endedWith("a", 0)), Succeeded, "Completed", "0/1"},
		"failed":                 {pod(schema.RestartNever, endedWith("a", 1), endedWith("b", 0)), Failed, "Error", "0/2"},
		"one done one runs":      {pod(schema.RestartOnFailure, endedWith("a", 0), running("b")), Running, "Running", "1/2"},
		"crash loop":             {pod(schema.RestartAlways, endedWith("a", 1)), Running, "CrashLoopBackOff", "0/1"},
		"success is not the end": {pod(schema.RestartAlways, endedWith("a", 0)), Running, "CrashLoopBackOff", "0/1"},
		"pull failed":            {pulling, Pending, "ErrImagePull", "0/1"},
		"pull backs off":         {backingOff, Pending, "ImagePullBackOff", "0/1"},
		"silent machine":         {unknown, Unknown, "Unknown", "0/1"},
		"dead machine":           {dead, Pending, "MachineDied", "0/1"},
		"boot failed":            {bootFailed, Pending, "BootFailed", "0/1"},
	} {
		t.Run(name, func(t *testing.T) {
			p := FromStatus(test.pod)
			if p.Status.Phase != test.phase || StatusColumn(&p) != test.status || ReadyColumn(&p) != test.ready {
				t.Errorf("phase %s status %s ready %s, want %s %s %s", p.Status.Phase, StatusColumn(&p), ReadyColumn(&p), test.phase, test.status, test.ready)
			}
		})
	}
}

// Kubernetes' own types read our JSON, and what they read is what was meant.
func TestJSONIsKubernetes(t *testing.T) {
	again := running("a")
	again.RestartCount = 2
	again.Runs = []schema.Run{{ID: "a-0", ExitCode: 137, Reason: "OOMKilled", StartedAt: now, FinishedAt: now}}
	s := pod(schema.RestartAlways, again, endedWith("b", 4))
	s.Spec.Labels = map[string]string{"app": "web"}
	s.Spec.Manifest = json.RawMessage(`{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"bb:1"},{"name":"b","image":"bb:1"}]}}`)
	b, err := json.Marshal(NewList([]Pod{FromStatus(s)}))
	if err != nil {
		t.Fatal(err)
	}
	var list corev1.PodList
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	got := list.Items[0]
	if got.Name != "web" || got.Labels["app"] != "web" || len(got.Spec.Containers) != 2 || got.Status.Phase != corev1.PodRunning {
		t.Errorf("read as %+v", got)
	}
	a, bb := got.Status.ContainerStatuses[0], got.Status.ContainerStatuses[1]
	if a.State.Running == nil || !a.Ready || a.RestartCount != 2 || a.LastTerminationState.Terminated.Reason != "OOMKilled" || a.ContainerID != "firkin://u/a-1" {
		t.Errorf("container a read as %+v", a)
	}
	if bb.State.Waiting == nil || bb.State.Waiting.Reason != "CrashLoopBackOff" || bb.LastTerminationState.Terminated.ExitCode != 4 {
		t.Errorf("container b read as %+v", bb)
	}
	for _, c := range got.Status.Conditions {
		if want := c.Type == corev1.PodScheduled || c.Type == corev1.PodInitialized; (c.Status == corev1.ConditionTrue) != want {
			t.Errorf("condition %s is %s", c.Type, c.Status)
		}
	}
}

// sidecar marks init containers as such, in the spec too.
func sidecar(p *schema.PodStatus) *schema.PodStatus {
	for i := range p.Spec.InitContainers {
		p.Spec.InitContainers[i].Sidecar = true
	}
	return p
}

func unready(c schema.ContainerStatus) schema.ContainerStatus {
	c.Ready = false
	return c
}

func TestReadiness(t *testing.T) {
	starting := initial(running("s"))
	starting.Started, starting.Ready = false, false
	for name, test := range map[string]struct {
		pod                *schema.PodStatus
		status, ready      string
		condition, message string
	}{
		"ready":               {pod(schema.RestartAlways, running("a")), "Running", "1/1", "True", ""},
		"unready":             {pod(schema.RestartAlways, unready(running("a")), running("b")), "Running", "1/2", "False", "containers with unready status: [a]"},
		"with a sidecar":      {sidecar(pod(schema.RestartAlways, initial(running("s")), running("a"))), "Running", "2/2", "True", ""},
		"unready sidecar":     {sidecar(pod(schema.RestartAlways, initial(unready(running("s"))), running("a"))), "Running", "1/2", "False", "containers with unready status: [s]"},
		"sidecar that starts": {sidecar(pod(schema.RestartAlways, starting, absent("a"))), "Init:0/1", "0/2", "False", "containers with unready status: [s a]"},
		"crashed sidecar":     {sidecar(pod(schema.RestartNever, initial(endedWith("s", 0)), running("a"))), "Init:CrashLoopBackOff", "1/2", "False", "containers with unready status: [s]"},
	} {
		t.Run(name, func(t *testing.T) {
			p := FromStatus(test.pod)
			if StatusColumn(&p) != test.status || ReadyColumn(&p) != test.ready {
				t.Errorf("status %s ready %s, want %s %s", StatusColumn(&p), ReadyColumn(&p), test.status, test.ready)
			}
			for _, c := range p.Status.Conditions {
				if (c.Type == "Ready" || c.Type == "ContainersReady") && (c.Status != test.condition || c.Message != test.message) {
					t.Errorf("condition %s: %s, %q; want %s, %q", c.Type, c.Status, c.Message, test.condition, test.message)
				}
			}
		})
	}
}

func TestAddressesVolumesAndProbes(t *testing.T) {
	s := pod(schema.RestartAlways, running("a"))
	s.IP, s.HostIP = "10.99.0.7", "192.0.2.1"
	s.CreatedAt = now.Add(-time.Hour)
	s.Containers[0].Probes = []schema.ProbeStatus{{Kind: schema.ProbeLiveness, Failures: 1, Message: "refused", At: now}}
	s.Volumes = []schema.VolumeStatus{
		{Name: "f", Spec: &schema.Volume{Files: &schema.Files{Sources: []schema.FilesSource{{ConfigMap: "c"}, {Secret: "s"}, {}}}}},
		{Name: "h", Spec: &schema.Volume{HostPath: &schema.HostPath{Path: "/srv"}}},
		{Name: "i", Spec: &schema.Volume{Image: &schema.ImageVolume{Reference: "bb:1"}}},
		{Name: "c", Spec: &schema.Volume{Claim: &schema.Claim{Name: "data", SizeBytes: 1 << 30, ReadOnly: true}}},
		{Name: "e", Spec: &schema.Volume{Claim: &schema.Claim{}}},
		{Name: "lost"},
	}
	p := FromStatus(s)
	if p.Status.PodIP != "10.99.0.7" || p.Status.PodIPs[0].IP != "10.99.0.7" || p.Status.HostIP != "192.0.2.1" || p.Status.HostIPs[0].IP != "192.0.2.1" {
		t.Errorf("addresses %+v", p.Status)
	}
	if !p.Metadata.CreationTimestamp.Equal(second(s.CreatedAt)) || !p.Status.StartTime.Equal(second(now)) {
		t.Errorf("created %s, started %s", p.Metadata.CreationTimestamp, p.Status.StartTime)
	}
	want := []Volume{
		{"f", "files", "ConfigMap c, Secret s, downward API"}, {"h", "hostPath", "/srv"}, {"i", "image", "bb:1"},
		{"c", "claim", "data, 1Gi, read-only"}, {"e", "claim", "ephemeral, lives as long as the pod"}, {"lost", "unknown", ""},
	}
	if !slices.Equal(p.Status.Firkin.Volumes, want) {
		t.Errorf("volumes %+v", p.Status.Firkin.Volumes)
	}
	if got := p.Status.Firkin.Probes; len(got) != 1 || got[0].Container != "a" || got[0].Message != "refused" {
		t.Errorf("probes %+v", got)
	}
}

func TestEmptyListIsAList(t *testing.T) {
	b, err := json.Marshal(NewList(nil))
	if err != nil || string(b) != `{"apiVersion":"v1","kind":"List","metadata":{},"items":[]}` {
		t.Errorf("%s, %v", b, err)
	}
}

func TestQOSClass(t *testing.T) {
	both := schema.ResourceLimits{CPULimitMilli: 100, MemoryLimitBytes: 1 << 20}
	for want, resources := range map[string]schema.ResourceLimits{
		"BestEffort": {}, "Burstable": {MemoryLimitBytes: 1}, "Guaranteed": both,
	} {
		p := &schema.Pod{Containers: []schema.Container{{Resources: resources}}}
		if got := qosClass(p); got != want {
			t.Errorf("%+v is %s, want %s", resources, got, want)
		}
	}
}
