package agent

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Fatalf("got %v (%v), want %v", got, err, want)
	}
}

func stateIs(name string, s agentpb.ContainerState_State) func(*agentpb.PodState) bool {
	return func(p *agentpb.PodState) bool { return find(p, name).GetState() == s }
}

func TestAdd_ReserveIDExistsOrPending(t *testing.T) {
	p := newPod(t)
	gate := p.rt.hold("Prepare")
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { p.add(t, "c", "d1") })
	}
	p.until(t, stateIs("c", agentpb.ContainerState_CREATING))
	_, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: spec("c", "other")})
	wantCode(t, err, codes.AlreadyExists)
	gate.release()
	wg.Wait()
	if n := p.rt.count("Start c"); n != 1 {
		t.Errorf("%d starts by three equal calls", n)
	}
	if r := p.add(t, "c", "d1"); len(r.GetPhases()) != 0 {
		t.Errorf("a repeated add had phases %v", r.GetPhases())
	}
	_, err = p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: spec("c", "other")})
	wantCode(t, err, codes.AlreadyExists)
}

func TestAdd_ReportsPhases(t *testing.T) {
	var names []string
	for _, ph := range newPod(t).add(t, "c", "d").GetPhases() {
		names = append(names, ph.GetName())
	}
	if want := []string{"reserve", "prepare", "record", "queue", "start", "commit"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

func TestAdd_FailureLeavesNothing(t *testing.T) {
	for _, step := range []string{"Prepare", "SaveState", "Start"} {
		t.Run(step, func(t *testing.T) {
			p := newPod(t)
			p.rt.setFail(step, errInjected)
			_, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: spec("c", "d")})
			wantCode(t, err, codes.Internal)
			if c := p.container(t, "c"); c != nil {
				t.Errorf("left %v", c)
			}
			p.rt.mu.Lock()
			left := len(p.rt.prepared)
			p.rt.mu.Unlock()
			if left != 0 {
				t.Errorf("%d prepared containers left", left)
			}
			p.rt.setFail(step, nil)
			if c := p.add(t, "c", "d").GetPod().GetContainers()[0]; c.GetRestartCount() != 0 {
				t.Errorf("failed start was counted: %v", c)
			}
		})
	}
}

func TestAdd_FailureKeepsTheRecordBefore(t *testing.T) {
	p := newPod(t)
	p.add(t, "c", "d")
	p.rt.proc("c-0").end(Exit{Code: 3})
	p.wait(t, "c")
	p.rt.setFail("Start", errInjected)
	_, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: spec("c", "d")})
	wantCode(t, err, codes.Internal)
	if c := p.container(t, "c"); c.GetState() != agentpb.ContainerState_TERMINATED || c.GetExitCode() != 3 || c.GetId() != "c-0" {
		t.Errorf("got %v", c)
	}
}

func TestAdd_FailedCleanUpIsLeftToReap(t *testing.T) {
	p := newPod(t)
	p.rt.setFail("Start", errInjected)
	p.rt.setFail("Clean", errInjected)
	_, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: spec("c", "d")})
	wantCode(t, err, codes.Internal)
	if c := p.container(t, "c"); c.GetState() != agentpb.ContainerState_EXITED || c.GetReason() != "StartError" || c.GetMessage() == "" {
		t.Errorf("got %v", c)
	}
	_, err = p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: spec("c", "d")})
	wantCode(t, err, codes.Internal)
	p.rt.setFail("Start", nil)
	p.rt.setFail("Clean", nil)
	if c := find(p.add(t, "c", "d").GetPod(), "c"); c.GetId() != "c-1" || len(c.GetRuns()) != 1 || c.GetRuns()[0].GetExitCode() != 128 {
		t.Errorf("got %v", c)
	}
}

func TestAdd_OneStartAtATime(t *testing.T) {
	p := newPod(t)
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		wg.Go(func() { p.add(t, name, "d") })
	}
	wg.Wait()
	if p.rt.overlap {
		t.Error("two starts ran at a time")
	}
}

func TestAdd_SlowStepsHoldNoLock(t *testing.T) {
	p := newPod(t)
	gate := p.rt.hold("Start")
	var wg sync.WaitGroup
	defer wg.Wait()
	defer gate.release()
	wg.Go(func() { p.add(t, "c", "d") })
	<-gate.reached
	// All of these must work while the start hangs.
	if _, err := p.AddEmptyDir(t.Context(), &agentpb.AddEmptyDirRequest{Name: "x", Digest: "d"}); err != nil {
		t.Error(err)
	}
	if _, err := p.Trim(t.Context(), &agentpb.TrimRequest{}); err != nil {
		t.Error(err)
	}
	p.container(t, "c")
}

func TestAdd_CallerLeavesAndItIsDoneAnyway(t *testing.T) {
	p := newPod(t)
	gate := p.rt.hold("Prepare")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := p.AddContainer(ctx, &agentpb.AddContainerRequest{Container: spec("c", "d")})
		done <- err
	}()
	p.until(t, stateIs("c", agentpb.ContainerState_CREATING))
	cancel()
	wantCode(t, <-done, codes.Canceled)
	gate.release()
	p.until(t, stateIs("c", agentpb.ContainerState_RUNNING))
	p.add(t, "c", "d")
	if n := p.rt.count("Start"); n != 1 {
		t.Errorf("%d starts", n)
	}
}

func TestAdd_UndeclaredEmptyDir(t *testing.T) {
	p := newPod(t)
	s := spec("c", "d")
	s.Mounts[0].Volume = "nope"
	_, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: s})
	wantCode(t, err, codes.FailedPrecondition)
}

func TestWait_ReapsCleansAndKeepsARecord(t *testing.T) {
	for _, tc := range []struct {
		exit   Exit
		reason string
	}{
		{Exit{}, "Completed"}, {Exit{Code: 2}, "Error"}, {Exit{Code: 137, OOMKilled: true}, "OOMKilled"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			p := newPod(t)
			p.add(t, "c", "d")
			proc := p.rt.proc("c-0")
			_, _ = proc.stdout.Write([]byte("the "))
			_, _ = proc.stderr.Write([]byte("end"))
			proc.end(tc.exit)
			s := p.until(t, stateIs("c", agentpb.ContainerState_EXITED))
			if find(s, "c").GetReason() != tc.reason || p.rt.count("Clean ") != 0 {
				t.Errorf("before wait: %v", s)
			}
			for range 2 { // the second finds it reaped
				r := p.wait(t, "c")
				c := find(r.GetPod(), "c")
				if int(r.GetExitCode()) != tc.exit.Code || r.GetReason() != tc.reason || string(r.GetTail()) != "the end" {
					t.Errorf("got %v", r)
				}
				if c.GetState() != agentpb.ContainerState_TERMINATED || len(c.GetRuns()) != 1 || c.GetRuns()[0].GetId() != "c-0" {
					t.Errorf("got %v", c)
				}
			}
			if n := p.rt.count("Clean c-0"); n != 1 {
				t.Errorf("cleaned %d times", n)
			}
		})
	}
}

func TestWait_NobodyElseIsBlocked(t *testing.T) {
	p := newPod(t)
	p.add(t, "c", "d")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := p.WaitContainer(ctx, &agentpb.WaitContainerRequest{Name: "c"})
		done <- err
	}()
	p.add(t, "other", "d")
	cancel()
	wantCode(t, <-done, codes.Canceled)
	if c := p.container(t, "c"); c.GetState() != agentpb.ContainerState_RUNNING {
		t.Errorf("got %v", c)
	}
	_, err := p.WaitContainer(t.Context(), &agentpb.WaitContainerRequest{Name: "nobody"})
	wantCode(t, err, codes.NotFound)
}

func TestWait_FailedCleanCanBeRepeated(t *testing.T) {
	p := newPod(t)
	p.add(t, "c", "d")
	p.rt.proc("c-0").end(Exit{Code: 1})
	p.rt.setFail("Clean", errInjected)
	_, err := p.WaitContainer(t.Context(), &agentpb.WaitContainerRequest{Name: "c"})
	wantCode(t, err, codes.Internal)
	p.rt.setFail("Clean", nil)
	if r := p.wait(t, "c"); r.GetExitCode() != 1 {
		t.Errorf("got %v", r)
	}
}

func TestRemove_TermGraceKillThenForgotten(t *testing.T) {
	p := newPod(t)
	p.rt.deafTERM = true
	p.add(t, "c", "d")
	req := &agentpb.RemoveContainerRequest{Name: "c", Grace: durationpb.New(time.Millisecond)}
	r, err := p.RemoveContainer(t.Context(), req)
	if err != nil || !r.GetExisted() || r.GetExitCode() != 137 || find(r.GetPod(), "c") != nil {
		t.Fatalf("got %v, %v", r, err)
	}
	if sig := p.rt.proc("c-0").signals; len(sig) != 1 {
		t.Errorf("signals %v", sig)
	}
	if r, err = p.RemoveContainer(t.Context(), req); err != nil || r.GetExisted() {
		t.Errorf("second removal: %v, %v", r, err)
	}
	p.rt.deafTERM = false
	// Its count and runs go on.
	c := find(p.add(t, "c", "d2").GetPod(), "c")
	if c.GetRestartCount() != 1 || c.GetId() != "c-1" || len(c.GetRuns()) != 1 || c.GetRuns()[0].GetExitCode() != 137 {
		t.Errorf("got %v", c)
	}
	req.Grace = durationpb.New(time.Minute)
	if r, err = p.RemoveContainer(t.Context(), req); err != nil || r.GetExitCode() != 143 {
		t.Errorf("got %v, %v", r, err)
	}
}

func TestRemove_FailedCleanKeepsTheRecord(t *testing.T) {
	p := newPod(t)
	p.add(t, "c", "d")
	p.rt.setFail("Clean", errInjected)
	_, err := p.RemoveContainer(t.Context(), &agentpb.RemoveContainerRequest{Name: "c"})
	wantCode(t, err, codes.Internal)
	if c := p.container(t, "c"); c.GetState() != agentpb.ContainerState_EXITED {
		t.Errorf("got %v", c)
	}
	p.rt.setFail("Clean", nil)
	if r, err := p.RemoveContainer(t.Context(), &agentpb.RemoveContainerRequest{Name: "c"}); err != nil || !r.GetExisted() {
		t.Errorf("got %v, %v", r, err)
	}
}

func TestRestart_CountsAndKeepsLastRuns(t *testing.T) {
	p := newPod(t)
	for i := range maxRuns + 3 {
		p.add(t, "c", "d")
		p.rt.proc(containerID("c", uint32(i))).end(Exit{Code: i})
		p.wait(t, "c")
	}
	c := p.container(t, "c")
	if c.GetRestartCount() != maxRuns+2 || len(c.GetRuns()) != maxRuns || c.GetRuns()[0].GetExitCode() != 3 {
		t.Errorf("got %v", c)
	}
}

func TestContainers_InitFirstThenAsAdded(t *testing.T) {
	p := newPod(t)
	for _, name := range []string{"z", "y", "x"} {
		s := spec(name, "d")
		s.Init = name == "x"
		if _, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: s}); err != nil {
			t.Fatal(err)
		}
	}
	p.rt.proc("z-0").end(Exit{})
	p.wait(t, "z")
	var names []string
	for _, c := range p.add(t, "z", "d").GetPod().GetContainers() {
		names = append(names, c.GetName())
	}
	if want := []string{"x", "z", "y"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

func TestEmptyDir_AddRemove(t *testing.T) {
	p := newPod(t)
	req := &agentpb.AddEmptyDirRequest{Name: "m", Digest: "d", Memory: true, SizeLimitBytes: 1}
	for range 2 {
		if _, err := p.AddEmptyDir(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.rt.count("CreateEmptyDir m"); n != 1 {
		t.Errorf("made %d times", n)
	}
	_, err := p.AddEmptyDir(t.Context(), &agentpb.AddEmptyDirRequest{Name: "m", Digest: "other"})
	wantCode(t, err, codes.AlreadyExists)
	p.add(t, "c", "d")
	_, err = p.RemoveEmptyDir(t.Context(), &agentpb.RemoveEmptyDirRequest{Name: "data"})
	wantCode(t, err, codes.FailedPrecondition)
	p.rt.proc("c-0").end(Exit{})
	p.wait(t, "c")
	for _, name := range []string{"data", "m", "never"} {
		s, err := p.RemoveEmptyDir(t.Context(), &agentpb.RemoveEmptyDirRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if name == "m" && len(s.GetEmptyDirs()) != 0 {
			t.Errorf("left %v", s.GetEmptyDirs())
		}
	}
}

func TestEmptyDir_FailedAddLeavesNothing(t *testing.T) {
	for _, step := range []string{"SaveState", "CreateEmptyDir"} {
		t.Run(step, func(t *testing.T) {
			p := newPod(t)
			p.rt.setFail(step, errInjected)
			_, err := p.AddEmptyDir(t.Context(), &agentpb.AddEmptyDirRequest{Name: "m", Digest: "d"})
			wantCode(t, err, codes.Internal)
			p.rt.setFail(step, nil)
			s, err := p.Describe(t.Context(), &agentpb.DescribeRequest{})
			if err != nil || len(s.GetEmptyDirs()) != 1 {
				t.Errorf("got %v, %v", s, err)
			}
		})
	}
}

func TestTrim_ReturnsTheKernelsCount(t *testing.T) {
	p := newPod(t)
	r, err := p.Trim(t.Context(), &agentpb.TrimRequest{})
	if err != nil || r.GetTrimmedBytes() != 77 || r.GetPod().GetStore().GetUsedBytes() != 10 {
		t.Errorf("got %v, %v", r, err)
	}
}

func TestSetTime(t *testing.T) {
	p := newPod(t)
	for sec, want := range map[int64]codes.Code{1_700_000_000: codes.OK, 5: codes.InvalidArgument, 1 << 40: codes.InvalidArgument} {
		_, err := p.SetTime(t.Context(), &agentpb.SetTimeRequest{Time: &timestamppb.Timestamp{Seconds: sec}})
		wantCode(t, err, want)
	}
}

func TestStop_ContainersStoppedErrorsDoNotStopTheTeardown(t *testing.T) {
	p := newPod(t)
	p.add(t, "a", "d")
	p.add(t, "b", "d")
	p.rt.setFail("Clean", errInjected)
	p.rt.setFail("Trim", errInjected)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := p.Shutdown(t.Context(), &agentpb.ShutdownRequest{Grace: durationpb.New(time.Minute)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	<-p.rt.off
	for _, id := range []string{"a-0", "b-0"} {
		if e := p.rt.proc(id).Exit(); e.Code != 143 {
			t.Errorf("%s: %v", id, e)
		}
	}
	if p.rt.count("CloseStore") != 1 {
		t.Error("store not closed")
	}
	_, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: spec("c", "d")})
	wantCode(t, err, codes.Unavailable)
}
