package drivertest

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// putFiles makes the volume "config" of these files, or changes it to them.
func putFiles(t *testing.T, a agentpb.AgentClient, digest string, files map[string]string) {
	t.Helper()
	v := &agentpb.FilesVolume{}
	for path, data := range files {
		v.Files = append(v.Files, &agentpb.VolumeFile{Path: path, Mode: 0o444, Data: []byte(data)})
	}
	if _, err := a.AddVolume(call(t), &agentpb.AddVolumeRequest{
		Name: "config", Digest: digest, Manifest: []byte(`{}`), Source: &agentpb.AddVolumeRequest_Files{Files: v},
	}); err != nil {
		t.Fatal(err)
	}
}

// withConfig mounts the volume of putFiles at /config.
func withConfig(spec *agentpb.ContainerSpec) *agentpb.ContainerSpec {
	spec.Mounts = append(spec.Mounts, &agentpb.Mount{Volume: "config", Path: "/config", ReadOnly: true})
	return spec
}

// patient is a container that runs until it is asked to end, and is started once it can be.
func (h *Harness) patient(name string) *agentpb.ContainerSpec {
	spec := h.container(name, "trap 'exit 0' TERM; echo up > /data/"+name+".up; sleep 1000000 & wait")
	spec.Startup = reads("/data/" + name + ".up")
	spec.Startup.FailureThreshold = 60
	return spec
}

func awaitStarted(t *testing.T, m driver.Machine, name string) {
	t.Helper()
	until(t, callLimit, name+" is started", func() bool { return container(describe(t, m), name).GetStarted() })
}

func start(t *testing.T, a agentpb.AgentClient, spec *agentpb.ContainerSpec) {
	t.Helper()
	if _, err := a.AddContainer(call(t), &agentpb.AddContainerRequest{Container: spec}); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, a agentpb.AgentClient, name string, grace time.Duration) {
	t.Helper()
	if _, err := a.RemoveContainer(call(t), &agentpb.RemoveContainerRequest{Name: name, Grace: durationpb.New(grace)}); err != nil {
		t.Fatal(err)
	}
}

func container(s *agentpb.PodState, name string) *agentpb.ContainerState {
	for _, c := range s.GetContainers() {
		if c.GetName() == name {
			return c
		}
	}
	return nil
}

func (h *Harness) filesVolume(t *testing.T, m driver.Machine, a agentpb.AgentClient) {
	for range 2 {
		putFiles(t, a, "v1", map[string]string{"greeting": "hello", "deep/er": "down"})
	}
	start(t, a, withConfig(h.container("reader", "sleep 1000000")))
	before := container(describe(t, m), "reader")
	for path, want := range map[string]string{"greeting": "hello", "deep/er": "down"} {
		if got, code := run(t, a, "reader", "cat", "/config/"+path); got != want || code != 0 {
			t.Errorf("%s holds %q, exit code %d", path, got, code)
		}
	}
	if _, code := run(t, a, "reader", "sh", "-c", "echo x > /config/greeting"); code == 0 {
		t.Error("a container writes to a volume of files")
	}
	putFiles(t, a, "v2", map[string]string{"greeting": "good bye"})
	if got, code := run(t, a, "reader", "cat", "/config/greeting"); got != "good bye" || code != 0 {
		t.Errorf("changed file holds %q, exit code %d", got, code)
	}
	if got, code := run(t, a, "reader", "cat", "/config/deep/er"); code == 0 {
		t.Errorf("removed file holds %q", got)
	}
	s := describe(t, m)
	if after := container(s, "reader"); after.GetId() != before.GetId() || after.GetPid() != before.GetPid() {
		t.Errorf("the container was %v and is %v", before, after)
	}
	if v := s.GetVolumes(); len(v) != 1 || v[0].GetDigest() != "v2" {
		t.Errorf("volumes %v", v)
	}
	if _, err := a.RemoveVolume(call(t), &agentpb.RemoveVolumeRequest{Name: "config"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("remove a mounted volume: %v, want FailedPrecondition", err)
	}
	remove(t, a, "reader", 0)
	for range 2 {
		if _, err := a.RemoveVolume(call(t), &agentpb.RemoveVolumeRequest{Name: "config"}); err != nil {
			t.Error(err)
		}
	}
}

// reads is a probe that succeeds while there is a file.
func reads(path string) *agentpb.Probe {
	return &agentpb.Probe{
		Handler: execHandler("cat", path), Period: durationpb.New(time.Second), Timeout: durationpb.New(callLimit), SuccessThreshold: 1, FailureThreshold: 1,
	}
}

func execHandler(argv ...string) *agentpb.Handler {
	return &agentpb.Handler{Action: &agentpb.Handler_Exec{Exec: &agentpb.ExecAction{Argv: argv}}}
}

func (h *Harness) probes(t *testing.T, m driver.Machine, a agentpb.AgentClient) {
	putFiles(t, a, "p1", map[string]string{"alive": ""})
	spec := withConfig(h.patient("probed"))
	spec.Readiness, spec.Liveness = reads("/config/ready"), reads("/config/alive")
	start(t, a, spec)
	probed := func() *agentpb.ContainerState { return container(describe(t, m), "probed") }
	until(t, callLimit, "all probes were asked", func() bool { return len(probed().GetProbes()) == 3 })
	if c := probed(); c.GetReady() || !c.GetStarted() {
		t.Errorf("ready without the file: %v", c)
	}
	putFiles(t, a, "p2", map[string]string{"alive": "", "ready": ""})
	until(t, callLimit, "the container is ready", func() bool { return probed().GetReady() })
	putFiles(t, a, "p3", map[string]string{"alive": ""})
	until(t, callLimit, "the container is not ready any more", func() bool { return !probed().GetReady() })
	putFiles(t, a, "p4", nil)
	r, err := a.WaitContainer(call(t), &agentpb.WaitContainerRequest{Name: "probed"})
	if err != nil {
		t.Fatal(err)
	}
	if c := container(r.GetPod(), "probed"); !strings.HasPrefix(c.GetMessage(), "liveness probe failed: ") || c.GetExitCode() == 0 {
		t.Errorf("ended by its liveness probe: %v", c)
	}
	remove(t, a, "probed", 0)
}

func (h *Harness) preStop(t *testing.T, m driver.Machine, a agentpb.AgentClient) {
	spec := h.patient("graceful")
	spec.PreStop = execHandler("sh", "-c", "echo bye > /data/bye")
	start(t, a, spec)
	awaitStarted(t, m, "graceful")
	remove(t, a, "graceful", callLimit/2)
	if got := readFile(t, m, "data", "bye"); got != "bye\n" {
		t.Errorf("the hook wrote %q", got)
	}
}

func (h *Harness) terminationMessage(t *testing.T, a agentpb.AgentClient) {
	spec := h.container("telling", "echo broken > /dev/termination-log; exit 3")
	spec.TerminationMessagePath = "/dev/termination-log"
	start(t, a, spec)
	r, err := a.WaitContainer(call(t), &agentpb.WaitContainerRequest{Name: "telling"})
	if err != nil {
		t.Fatal(err)
	}
	if got := container(r.GetPod(), "telling").GetMessage(); strings.TrimSpace(got) != "broken" || r.GetExitCode() != 3 {
		t.Errorf("message %q, exit code %d", got, r.GetExitCode())
	}
	remove(t, a, "telling", 0)
}

// sidecars adds a container and two sidecars; once the machine was stopped, what it returns
// checks in which order they ended.
func (h *Harness) sidecars(t *testing.T, m driver.Machine) func(t *testing.T) {
	a := client(m)
	if h.Template != nil {
		bring(t, m, *h.Template, true)
	}
	for _, name := range []string{"side-1", "side-2", "main"} {
		spec := h.patient(name)
		spec.Sidecar = name != "main"
		spec.Init = spec.Sidecar
		start(t, a, spec)
	}
	for _, name := range []string{"side-1", "side-2", "main"} {
		awaitStarted(t, m, name)
	}
	stream, err := a.Watch(call(t), &agentpb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	last := make(chan *agentpb.PodState, 1)
	go func() {
		var s *agentpb.PodState
		for {
			next, err := stream.Recv()
			if err != nil { // the machine is off
				last <- s
				return
			}
			s = next
		}
	}()
	return func(t *testing.T) {
		s := <-last
		var before *agentpb.ContainerState
		for _, name := range []string{"main", "side-2", "side-1"} {
			c := container(s, name)
			if c.GetState() != agentpb.ContainerState_TERMINATED || c.GetExitCode() != 0 {
				t.Errorf("not ended in order: %v", c)
			}
			if before != nil && c.GetFinishedAt().AsTime().Before(before.GetFinishedAt().AsTime()) {
				t.Errorf("%s ended before %s", name, before.GetName())
			}
			before = c
		}
	}
}
