package agent

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func execHandler(argv ...string) *agentpb.Handler {
	return &agentpb.Handler{Action: &agentpb.Handler_Exec{Exec: &agentpb.ExecAction{Argv: argv}}}
}

func execProbe(period time.Duration, successes, failures uint32, argv ...string) *agentpb.Probe {
	return &agentpb.Probe{
		Handler: execHandler(argv...), Timeout: durationpb.New(time.Second), Period: durationpb.New(period),
		SuccessThreshold: successes, FailureThreshold: failures,
	}
}

// healthy makes commands succeed while it says so; others fail with words.
func (r *fakeRuntime) healthy(ok *atomic.Bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onExec = func([]string) *fakeExec {
		if ok.Load() {
			return &fakeExec{}
		}
		return &fakeExec{code: 2, output: "not well\n"}
	}
}

// state is the container as it is now, without asking over the link.
func (p *pod) state(name string) *agentpb.ContainerState { return find(p.agent.snapshot(), name) }

func TestProbe_Thresholds(t *testing.T) {
	p := newProbe(probeReadiness, &agentpb.Probe{SuccessThreshold: 2, FailureThreshold: 3})
	for i, tc := range []struct {
		ok, news, decided, holds bool
	}{
		{false, true, false, false},
		{true, true, false, false},
		{true, true, true, true},
		{true, false, true, true},
		{false, true, false, true},
		{false, true, false, true},
		{true, true, false, true},
		{false, true, false, true},
		{false, true, false, true},
		{false, true, true, false},
		{false, false, true, false},
		{false, false, true, false},
	} {
		news, decided := p.note(finding{ok: tc.ok}, time.Unix(int64(i), 0))
		if news != tc.news || decided != tc.decided || p.holds != tc.holds {
			t.Errorf("step %d: news %t, decided %t, holds %t; want %+v", i, news, decided, p.holds, tc)
		}
	}
	if got := p.proto(); got.GetFailures() != 5 || got.GetOk() {
		t.Errorf("got %v", got)
	}
}

func TestProbe_DefaultsAreKubernetes(t *testing.T) {
	p := newProbe(probeLiveness, &agentpb.Probe{})
	if p.timeout != time.Second || p.period != 10*time.Second || p.successes != 1 || p.failures != 3 || p.delay != 0 || !p.holds {
		t.Errorf("got %+v", p)
	}
}

func TestReadiness_FollowsTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		var ok atomic.Bool
		p.rt.healthy(&ok)
		p.add(t, "c", "d", func(c *agentpb.ContainerSpec) {
			c.Readiness = execProbe(10*time.Second, 1, 3, "check")
			c.Readiness.InitialDelay = durationpb.New(5 * time.Second)
		})
		begin := time.Now()
		at := func(after time.Duration, ready bool, failures uint32) {
			t.Helper()
			time.Sleep(time.Until(begin.Add(after + time.Millisecond)))
			synctest.Wait()
			c := p.state("c")
			got := uint32(0)
			if len(c.GetProbes()) > 0 {
				got = c.GetProbes()[0].GetFailures()
			}
			if !c.GetStarted() || c.GetReady() != ready || got != failures {
				t.Errorf("after %v: %v; want ready %t, %d failures", after, c, ready, failures)
			}
		}
		at(0, false, 0)
		at(5*time.Second, false, 1)
		ok.Store(true)
		at(15*time.Second, true, 0)
		ok.Store(false)
		at(25*time.Second, true, 1)
		at(35*time.Second, true, 2)
		at(45*time.Second, false, 3)
		if m := p.state("c").GetProbes()[0].GetMessage(); m != "exit code 2: not well" {
			t.Errorf("message %q", m)
		}
		before := p.agent.snapshot().GetRevision()
		at(200*time.Second, false, 18)
		if after := p.agent.snapshot().GetRevision(); after != before {
			t.Errorf("%d changes while it goes on failing", after-before)
		}
		ok.Store(true)
		at(205*time.Second, true, 0)
		before = p.agent.snapshot().GetRevision()
		at(2000*time.Second, true, 0)
		if after := p.agent.snapshot().GetRevision(); after != before {
			t.Errorf("%d changes while it goes on succeeding", after-before)
		}
	})
}

func TestLiveness_FailureEndsTheContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		var ok atomic.Bool
		ok.Store(true)
		p.rt.healthy(&ok)
		p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.Liveness = execProbe(10*time.Second, 1, 3, "check") })
		time.Sleep(15 * time.Second)
		ok.Store(false)
		begin := time.Now()
		r := p.wait(t, "c")
		// It fails 5 s, 15 s and 25 s after that.
		if took := time.Since(begin); took != 25*time.Second {
			t.Errorf("took %v", took)
		}
		c := find(r.GetPod(), "c")
		if c.GetMessage() != "liveness probe failed: exit code 2: not well" || c.GetExitCode() != 143 || c.GetReason() != "Error" || c.GetReady() {
			t.Errorf("got %v", c)
		}
		if sig := p.rt.proc("c-0").signals; len(sig) != 1 {
			t.Errorf("signals %v", sig)
		}
	})
}

func TestLiveness_GraceIsTheProbesOrThePods(t *testing.T) {
	for what, tc := range map[string]struct {
		probe *durationpb.Duration
		want  time.Duration
	}{
		"pod's": {nil, 30 * time.Second}, "probe's": {durationpb.New(7 * time.Second), 7 * time.Second}, "none": {durationpb.New(0), 0},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPod(t)
				p.rt.deafTERM = true
				p.rt.healthy(new(atomic.Bool))
				begin := time.Now()
				p.add(t, "c", "d", func(c *agentpb.ContainerSpec) {
					c.Liveness = execProbe(time.Second, 1, 1, "check")
					c.Liveness.Grace = tc.probe
				})
				if r := p.wait(t, "c"); time.Since(begin) != tc.want || r.GetExitCode() != 137 {
					t.Errorf("exit code %d after %v", r.GetExitCode(), time.Since(begin))
				}
			})
		})
	}
}

func TestLiveness_CleanExitStillCountsAsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.rt.deafTERM = true
		p.rt.healthy(new(atomic.Bool))
		p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.Liveness = execProbe(time.Second, 1, 1, "check") })
		synctest.Wait()
		p.rt.proc("c-0").end(Exit{})
		if r := p.wait(t, "c"); r.GetExitCode() != 143 || r.GetReason() != "Error" {
			t.Errorf("got %d, %s", r.GetExitCode(), r.GetReason())
		}
	})
}

func TestStartup_GatesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		var up atomic.Bool
		var mu sync.Mutex
		asked := make(map[string]int)
		p.rt.onExec = func(argv []string) *fakeExec {
			mu.Lock()
			defer mu.Unlock()
			asked[argv[0]]++
			if argv[0] == "startup" && !up.Load() {
				return &fakeExec{code: 1}
			}
			return &fakeExec{}
		}
		times := func(kind string) int {
			mu.Lock()
			defer mu.Unlock()
			return asked[kind]
		}
		p.add(t, "c", "d", func(c *agentpb.ContainerSpec) {
			c.Startup = execProbe(5*time.Second, 1, 10, "startup")
			c.Readiness = execProbe(3*time.Second, 1, 3, "readiness")
			c.Liveness = execProbe(60*time.Second, 1, 3, "liveness")
		})
		time.Sleep(22 * time.Second)
		synctest.Wait()
		if c := p.state("c"); c.GetStarted() || c.GetReady() || times("readiness")+times("liveness") > 0 {
			t.Errorf("got %v", c)
		}
		up.Store(true)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if c := p.state("c"); !c.GetStarted() || !c.GetReady() || len(c.GetProbes()) != 3 {
			t.Errorf("got %v", c)
		}
		time.Sleep(time.Hour)
		if n := times("startup"); n != 6 {
			t.Errorf("startup asked %d times", n)
		}
	})
}

func TestStartup_FailureEndsTheContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.rt.healthy(new(atomic.Bool))
		begin := time.Now()
		p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.Startup = execProbe(2*time.Second, 1, 3, "check") })
		c := find(p.wait(t, "c").GetPod(), "c")
		if time.Since(begin) != 4*time.Second || !strings.HasPrefix(c.GetMessage(), "startup probe failed: ") || c.GetStarted() {
			t.Errorf("after %v: %v", time.Since(begin), c)
		}
	})
}

func TestExecProbe_KilledAtItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.Readiness = execProbe(10*time.Second, 1, 1, "hangs") })
		proc := <-p.rt.execs
		_, _ = proc.stdout.Write([]byte(strings.Repeat("x", 5000) + "the end"))
		<-proc.Done()
		synctest.Wait()
		probe := p.state("c").GetProbes()[0]
		if proc.Exit().Code != 137 || probe.GetFailures() != 1 || len(probe.GetMessage()) > maxProbeMessage ||
			!strings.HasPrefix(probe.GetMessage(), "timed out after 1s: xxx") {
			t.Errorf("exit %v, %v", proc.Exit(), probe)
		}
	})
}

func TestExecProbe_ThatCannotBeRunSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.rt.setFail("Exec", errInjected)
		p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.Liveness = execProbe(time.Second, 1, 1, "check") })
		time.Sleep(time.Minute)
		synctest.Wait()
		c := p.state("c")
		if c.GetState() != agentpb.ContainerState_RUNNING || c.GetProbes()[0].GetFailures() != 0 || c.GetProbes()[0].GetMessage() != "not asked: injected" {
			t.Errorf("got %v", c)
		}
	})
}

func TestProbes_EndWithTheirContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		var ok atomic.Bool
		ok.Store(true)
		p.rt.healthy(&ok)
		p.add(t, "c", "d", func(c *agentpb.ContainerSpec) {
			c.Liveness = execProbe(time.Second, 1, 1, "check")
			c.Readiness = execProbe(time.Second, 1, 1, "check")
		})
		time.Sleep(3500 * time.Millisecond)
		p.rt.proc("c-0").end(Exit{Code: 4})
		c := find(p.wait(t, "c").GetPod(), "c")
		asked := p.rt.count("Exec")
		ok.Store(false)
		time.Sleep(time.Minute)
		if n := p.rt.count("Exec"); n != asked {
			t.Errorf("asked %d times more", n-asked)
		}
		if c.GetMessage() != "" || c.GetExitCode() != 4 || c.GetReady() {
			t.Errorf("got %v", c)
		}
	})
}

func TestProbe_Validation(t *testing.T) {
	p := newPod(t)
	get := func(g *agentpb.HTTPGetAction) func(c *agentpb.ContainerSpec) {
		return func(c *agentpb.ContainerSpec) {
			c.Liveness = &agentpb.Probe{Handler: &agentpb.Handler{Action: &agentpb.Handler_HttpGet{HttpGet: g}}}
		}
	}
	sleeps := &agentpb.Handler{Action: &agentpb.Handler_Sleep{Sleep: durationpb.New(time.Second)}}
	calls := &agentpb.Handler{Action: &agentpb.Handler_Grpc{Grpc: &agentpb.GRPCAction{Port: 1}}}
	for what, spoil := range map[string]func(*agentpb.ContainerSpec){
		"no action":     func(c *agentpb.ContainerSpec) { c.Liveness = &agentpb.Probe{} },
		"no command":    func(c *agentpb.ContainerSpec) { c.Startup = execProbe(time.Second, 1, 1) },
		"fast":          func(c *agentpb.ContainerSpec) { c.Readiness = execProbe(time.Millisecond, 1, 1, "x") },
		"negative":      func(c *agentpb.ContainerSpec) { c.Readiness = execProbe(-time.Second, 1, 1, "x") },
		"sleep":         func(c *agentpb.ContainerSpec) { c.Readiness = &agentpb.Probe{Handler: sleeps} },
		"init":          func(c *agentpb.ContainerSpec) { c.Init, c.Readiness = true, execProbe(time.Second, 1, 1, "x") },
		"port":          get(&agentpb.HTTPGetAction{}),
		"high port":     get(&agentpb.HTTPGetAction{Port: 65536}),
		"host":          get(&agentpb.HTTPGetAction{Port: 80, Host: "a b"}),
		"header name":   get(&agentpb.HTTPGetAction{Port: 80, Headers: []*agentpb.HTTPHeader{{Name: "a b"}}}),
		"header value":  get(&agentpb.HTTPGetAction{Port: 80, Headers: []*agentpb.HTTPHeader{{Name: "a", Value: "x\r\nb: y"}}}),
		"hook by gRPC":  func(c *agentpb.ContainerSpec) { c.PreStop = calls },
		"empty hook":    func(c *agentpb.ContainerSpec) { c.PostStart = &agentpb.Handler{} },
		"signal":        func(c *agentpb.ContainerSpec) { c.StopSignal = 65 },
		"relative path": func(c *agentpb.ContainerSpec) { c.TerminationMessagePath = "log" },
		"user":          func(c *agentpb.ContainerSpec) { c.Security = &agentpb.SecurityContext{ExtraGroups: []int64{-1}} },
	} {
		t.Run(what, func(t *testing.T) {
			c := spec("c", "d")
			spoil(c)
			_, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: c})
			wantCode(t, err, codes.InvalidArgument)
		})
	}
}
