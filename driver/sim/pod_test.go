package sim_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func shell(name, script string, mounts ...*agentpb.Mount) *agentpb.ContainerSpec {
	return &agentpb.ContainerSpec{
		Name: name, Digest: "d", Image: "guest:/", RootfsPath: "/", Argv: []string{"sh", "-c", script}, Mounts: mounts,
		TerminationMessagePath: "/dev/termination-log",
	}
}

func start(t testing.TB, a agentpb.AgentClient, spec *agentpb.ContainerSpec) {
	t.Helper()
	if _, err := a.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: spec}); err != nil {
		t.Fatal(err)
	}
}

// ends runs a container to its end and forgets it.
func ends(t testing.TB, a agentpb.AgentClient, spec *agentpb.ContainerSpec) *agentpb.ContainerState {
	t.Helper()
	start(t, a, spec)
	r, err := a.WaitContainer(t.Context(), &agentpb.WaitContainerRequest{Name: spec.GetName()})
	if err != nil {
		t.Fatal(err)
	}
	state := r.GetPod().GetContainers()[0]
	state.Message = strings.TrimSpace(state.GetMessage() + string(r.GetTail()))
	if _, err := a.RemoveContainer(t.Context(), &agentpb.RemoveContainerRequest{Name: spec.GetName()}); err != nil {
		t.Fatal(err)
	}
	return state
}

func addVolume(t testing.TB, a agentpb.AgentClient, req *agentpb.AddVolumeRequest) {
	t.Helper()
	if _, err := a.AddVolume(t.Context(), req); err != nil {
		t.Fatal(err)
	}
}

func files(name, digest string, list ...string) *agentpb.AddVolumeRequest {
	v := &agentpb.FilesVolume{}
	for i := 0; i < len(list); i += 2 {
		v.Files = append(v.Files, &agentpb.VolumeFile{Path: list[i], Data: []byte(list[i+1])})
	}
	return &agentpb.AddVolumeRequest{Name: name, Digest: digest, Source: &agentpb.AddVolumeRequest_Files{Files: v}}
}

func TestVolumesOfAllKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := world(t, "")
		defer closeAll(t, w, d)
		s := spec(1)
		s.Shares = []driver.Share{{Name: "logs", Path: "/srv/logs"}, {Name: "docs", Path: "/srv/docs", ReadOnly: true}}
		s.Disks = []driver.Disk{{ID: "claim", Path: "/disks/claim"}}
		m, err := d.Create(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		a := configure(t, m)
		addVolume(t, a, files("config", "1", "dir/key", "value"))
		for name, share := range map[string]string{"logs": "logs", "docs": "docs"} {
			addVolume(t, a, &agentpb.AddVolumeRequest{Name: name, Digest: "1", Source: &agentpb.AddVolumeRequest_Share{Share: &agentpb.ShareVolume{Share: share}}})
		}
		disk := &agentpb.AddVolumeRequest{Name: "claim", Digest: "1", Source: &agentpb.AddVolumeRequest_Disk{Disk: &agentpb.DiskVolume{Disk: "claim"}}}
		addVolume(t, a, disk)
		mounts := []*agentpb.Mount{
			{Volume: "config", Path: "/c"}, {Volume: "config", Path: "/one", SubPath: "dir/key"},
			{Volume: "logs", Path: "/logs"}, {Volume: "docs", Path: "/docs"}, {Volume: "claim", Path: "/claim"},
		}
		for script, want := range map[string]string{
			"cat /c/dir/key /one":             "valuevalue",
			"write /logs/a b && cat /logs/a":  "b",
			"write /claim/x y; cat /claim/x":  "y",
			"write /c/dir/key z":              "sim: write /c/dir/key: read-only file system",
			"write /docs/a z":                 "sim: write /docs/a: read-only file system",
			"write /own x && cat /own":        "x",
			"test -f /none && echo bad; true": "",
			"echo why > /dev/termination-log": "why",
		} {
			if got := ends(t, a, shell("main", script, mounts...)).GetMessage(); got != want {
				t.Errorf("%s: %q, want %q", script, got, want)
			}
		}
		// The disk outlives its machine; what a container wrote for itself is gone with it.
		if err := m.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.ID = spec(2).ID
		if m, err = d.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		a = configure(t, m)
		addVolume(t, a, disk)
		if got := ends(t, a, shell("main", "cat /claim/x; test -f /own && echo bad", mounts[4])).GetMessage(); got != "y" {
			t.Errorf("the disk holds %q", got)
		}
		unknown := &agentpb.AddVolumeRequest{Name: "x", Digest: "1", Source: &agentpb.AddVolumeRequest_Disk{Disk: &agentpb.DiskVolume{Disk: "x"}}}
		if _, err := a.AddVolume(t.Context(), unknown); status.Code(err) != codes.NotFound {
			t.Errorf("a disk that is not attached: %v", err)
		}
	})
}

func TestProbesOfAListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := world(t, "")
		defer closeAll(t, w, d)
		_, a := create(t, d, 1)
		addVolume(t, a, files("config", "1", "healthy", ""))
		main := shell("main", "sleep 5; listen 8080 /c/healthy; sleep infinity", &agentpb.Mount{Volume: "config", Path: "/c"})
		probe := func(h *agentpb.Handler) *agentpb.Probe {
			return &agentpb.Probe{Handler: h, Period: durationpb.New(time.Second), FailureThreshold: 2}
		}
		get := &agentpb.Handler{Action: &agentpb.Handler_HttpGet{HttpGet: &agentpb.HTTPGetAction{Port: 8080, Path: "/healthz"}}}
		main.Startup = probe(&agentpb.Handler{Action: &agentpb.Handler_TcpSocket{TcpSocket: &agentpb.TCPSocketAction{Port: 8080}}})
		main.Startup.FailureThreshold = 30
		main.Readiness, main.Liveness = probe(get), probe(get)
		main.Liveness.FailureThreshold = 10
		start(t, a, main)
		state := func(after time.Duration) *agentpb.ContainerState {
			time.Sleep(after)
			synctest.Wait()
			s, err := a.Describe(t.Context(), &agentpb.DescribeRequest{})
			if err != nil {
				t.Fatal(err)
			}
			return s.GetContainers()[0]
		}
		if c := state(4 * time.Second); c.GetStarted() || !strings.Contains(c.GetProbes()[0].GetMessage(), "connection refused") {
			t.Errorf("got %v", c)
		}
		if c := state(3 * time.Second); !c.GetReady() {
			t.Errorf("got %v", c)
		}
		addVolume(t, a, files("config", "2"))
		if c := state(3 * time.Second); c.GetReady() || c.GetProbes()[0].GetMessage() != "HTTP status 503" {
			t.Errorf("got %v", c)
		}
		if c := state(time.Minute); c.GetState() != agentpb.ContainerState_EXITED || c.GetMessage() != "liveness probe failed: HTTP status 503" {
			t.Errorf("got %v", c)
		}
	})
}

func TestNetworkGivesAddresses(t *testing.T) {
	w, d := world(t, "")
	defer closeAll(t, w, d)
	for i, want := range []string{"10.99.0.2/16 10.99.0.1 02:00:0a:63:00:02", "10.99.0.3/16 10.99.0.1 02:00:0a:63:00:03", "invalid Prefix invalid IP "} {
		s := spec(i)
		s.Network.Enabled = i < 2
		m, err := d.Create(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		info, err := m.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Spec.Network.Address.String() + " " + info.Gateway.String() + " " + info.MAC; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestVolumeFaults(t *testing.T) {
	w, d := world(t, "AddVolume=1*error(no memory); RemoveVolume=1*off->1*error(busy); TerminationMessage=error(gone)")
	defer closeAll(t, w, d)
	_, a := create(t, d, 1)
	if _, err := a.AddVolume(t.Context(), files("v", "1")); err == nil || !strings.Contains(err.Error(), "no memory") {
		t.Errorf("add: %v", err)
	}
	addVolume(t, a, files("v", "1"))
	if _, err := a.RemoveVolume(t.Context(), &agentpb.RemoveVolumeRequest{Name: "v"}); err == nil || !strings.Contains(err.Error(), "busy") {
		t.Errorf("remove: %v", err)
	}
	if c := ends(t, a, shell("main", "exit 3")); c.GetExitCode() != 3 || c.GetMessage() != "" {
		t.Errorf("got %v", c)
	}
}
