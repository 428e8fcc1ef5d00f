package agent

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func TestCrash_RecordsOutliveTheMachine(t *testing.T) {
	d := newDisk()
	p := bootPod(t, "boot-1", d)
	p.configure(t)
	if _, err := p.AddEmptyDir(t.Context(), &agentpb.AddEmptyDirRequest{Name: "data", Digest: "d", SizeLimitBytes: 9}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"reaped", "running", "gone"} {
		p.add(t, name, "d")
	}
	_, _ = p.rt.proc("reaped-0").stdout.Write([]byte("bye"))
	p.rt.proc("reaped-0").end(Exit{Code: 7})
	p.wait(t, "reaped")
	if _, err := p.RemoveContainer(t.Context(), &agentpb.RemoveContainerRequest{Name: "gone"}); err != nil {
		t.Fatal(err)
	}
	p.stop()

	p = bootPod(t, "boot-2", d)
	s := p.configure(t)
	if p.rt.count("CleanAll") != 1 || p.rt.count("CreateEmptyDir data") != 1 {
		t.Errorf("calls %v", p.rt.calls)
	}
	if len(s.GetEmptyDirs()) != 1 || s.GetEmptyDirs()[0].GetSizeLimitBytes() != 9 {
		t.Errorf("emptyDirs %v", s.GetEmptyDirs())
	}
	if r := p.wait(t, "reaped"); r.GetExitCode() != 7 || string(r.GetTail()) != "bye" {
		t.Errorf("reaped: %v", r)
	}
	c := find(s, "running")
	if c.GetState() != agentpb.ContainerState_TERMINATED || c.GetExitCode() != 255 || c.GetReason() != "MachineDied" || len(c.GetRuns()) != 1 {
		t.Errorf("running: %v", c)
	}
	if c := find(p.add(t, "running", "d").GetPod(), "running"); c.GetId() != "running-1" || c.GetRestartCount() != 1 {
		t.Errorf("running again: %v", c)
	}
	if c := find(p.add(t, "gone", "d").GetPod(), "gone"); c.GetRestartCount() != 1 || len(c.GetRuns()) != 1 {
		t.Errorf("gone again: %v", c)
	}
}

func TestCrash_DuringStartCountsAsARun(t *testing.T) {
	d := newDisk()
	p := bootPod(t, "boot-1", d)
	p.configure(t)
	gate := p.rt.hold("Start")
	s := spec("c", "d")
	s.Mounts = nil
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: s})
	}()
	<-gate.reached
	d.mu.Lock()
	crashed := &disk{state: d.state, dirs: map[string]bool{}}
	d.mu.Unlock()
	gate.release()
	<-done

	p = bootPod(t, "boot-2", crashed)
	c := find(p.configure(t), "c")
	if c.GetReason() != "MachineDied" || c.GetRestartCount() != 0 || len(c.GetRuns()) != 1 {
		t.Errorf("got %v", c)
	}
}

func TestCrash_ExitedKeepsItsResult(t *testing.T) {
	data, err := json.Marshal(savedState{
		Version:    stateVersion,
		Pod:        savedPod{UID: "u-1"},
		Containers: []record{{Name: "c", ID: "c-4", State: stateExited, Restarts: 4, ExitCode: 3, Reason: reasonError, FinishedAt: time.Now()}},
		Histories:  map[string]*history{"c": {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := bootPod(t, "boot-2", &disk{state: data, dirs: map[string]bool{}})
	c := find(p.configure(t), "c")
	if c.GetState() != agentpb.ContainerState_TERMINATED || c.GetExitCode() != 3 || len(c.GetRuns()) != 1 {
		t.Errorf("got %v", c)
	}
}

func TestConfigure_UnreadableStateIsKeptAside(t *testing.T) {
	d := newDisk()
	d.state = []byte("{half")
	p := bootPod(t, "boot-1", d)
	if s := p.configure(t); len(s.GetContainers()) != 0 {
		t.Errorf("got %v", s)
	}
	got, err := decodeState(d.state)
	if err != nil || string(got.Unreadable) != "{half" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestConfigure_OtherPodIsRefused(t *testing.T) {
	d := newDisk()
	p := bootPod(t, "boot-1", d)
	_, err := p.AddEmptyDir(t.Context(), &agentpb.AddEmptyDirRequest{Name: "x", Digest: "d"})
	wantCode(t, err, codes.FailedPrecondition)
	p.configure(t)
	other := proto.CloneOf(testIdentity)
	other.Uid = "u-2"
	_, err = p.Configure(t.Context(), &agentpb.ConfigureRequest{Pod: other})
	wantCode(t, err, codes.FailedPrecondition)
	same := proto.CloneOf(testIdentity)
	same.Manifest = []byte("new")
	s, err := p.Configure(t.Context(), &agentpb.ConfigureRequest{Pod: same})
	if err != nil || string(s.GetPod().GetManifest()) != "new" {
		t.Errorf("got %v, %v", s, err)
	}
	if n := p.rt.count("OpenStore"); n != 1 {
		t.Errorf("store opened %d times", n)
	}
	p.stop()
	p = bootPod(t, "boot-2", d)
	_, err = p.Configure(t.Context(), &agentpb.ConfigureRequest{Pod: other})
	wantCode(t, err, codes.FailedPrecondition)
	p.configure(t)
}

func TestConfigure_FailureCanBeRepeated(t *testing.T) {
	for _, step := range []string{"OpenStore", "LoadState", "CleanAll"} {
		t.Run(step, func(t *testing.T) {
			p := bootPod(t, "boot-1", newDisk())
			p.rt.setFail(step, errInjected)
			_, err := p.Configure(t.Context(), &agentpb.ConfigureRequest{Pod: testIdentity})
			wantCode(t, err, codes.Internal)
			p.rt.setFail(step, nil)
			p.configure(t)
		})
	}
}

func FuzzDecodeState(f *testing.F) {
	f.Add([]byte(`{"version":1,"pod":{"uid":"u"},"histories":{"c":{"order":0,"starts":1}},"containers":[{"name":"c","id":"c-0","state":"running"}],"emptyDirs":[{"name":"d"}]}`))
	f.Add([]byte(`{"version":1,"histories":{"c":null}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeState(data)
		if err != nil {
			return
		}
		a := New(newFakeRuntime("b", newDisk()), Options{})
		a.pod = testIdentity
		for _, d := range s.EmptyDirs {
			a.dirs[d.Name] = d.restore()
		}
		a.restore(s)
		for _, c := range a.podState().GetContainers() {
			if c.GetState() != agentpb.ContainerState_TERMINATED || len(c.GetRuns()) > maxRuns {
				t.Fatalf("restored %v", c)
			}
		}
		again, err := json.Marshal(a.toSave())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeState(again); err != nil {
			t.Fatalf("what was saved cannot be read: %v", err)
		}
	})
}

func TestConfigure_CreatedOnceBootedEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		p := bootPod(t, "boot-1", d)
		if s := p.agent.snapshot(); s.GetCreatedAt() != nil {
			t.Errorf("created at %v before it was configured", s.GetCreatedAt().AsTime())
		}
		first := p.configure(t)
		p.stop()
		time.Sleep(time.Hour)
		second := bootPod(t, "boot-2", d).configure(t)
		if !first.GetCreatedAt().AsTime().Equal(second.GetCreatedAt().AsTime()) {
			t.Errorf("created at %v and at %v", first.GetCreatedAt().AsTime(), second.GetCreatedAt().AsTime())
		}
		if got := second.GetBootedAt().AsTime().Sub(first.GetBootedAt().AsTime()); got != time.Hour {
			t.Errorf("booted %v apart", got)
		}
	})
}

func TestConfigure_GraceMayChangeTheNetworkNot(t *testing.T) {
	p := newPod(t)
	req := &agentpb.ConfigureRequest{
		Pod: testIdentity, Grace: durationpb.New(5 * time.Second), Network: &agentpb.NetworkConfig{Address: "10.99.0.9/16"},
	}
	if _, err := p.Configure(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if got := p.agent.graceFor(nil); got != 5*time.Second {
		t.Errorf("grace %v", got)
	}
	if got := p.agent.address("", 1); got != "127.0.0.1:1" {
		t.Errorf("address %s", got)
	}
}

func TestConfigure_Validation(t *testing.T) {
	p := bootPod(t, "boot-1", newDisk())
	negative := int64(-1)
	for what, req := range map[string]*agentpb.ConfigureRequest{
		"address":     {Network: &agentpb.NetworkConfig{Address: "10.99.0.7"}},
		"gateway":     {Network: &agentpb.NetworkConfig{Gateway: "gw"}},
		"mac":         {Network: &agentpb.NetworkConfig{Mac: "02:00"}},
		"name server": {Network: &agentpb.NetworkConfig{Nameservers: []string{"a\x00"}}},
		"host":        {Network: &agentpb.NetworkConfig{Hosts: []*agentpb.HostAlias{{Ip: "x"}}}},
		"sysctl":      {Sysctls: []*agentpb.Sysctl{{Value: "1"}}},
		"group":       {FsGroup: &negative},
		"grace":       {Grace: durationpb.New(-time.Second)},
	} {
		t.Run(what, func(t *testing.T) {
			req.Pod = testIdentity
			_, err := p.Configure(t.Context(), req)
			wantCode(t, err, codes.InvalidArgument)
		})
	}
}
