package agent

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func sleepHandler(d time.Duration) *agentpb.Handler {
	return &agentpb.Handler{Action: &agentpb.Handler_Sleep{Sleep: durationpb.New(d)}}
}

func (p *pod) remove(t testing.TB, name string, grace time.Duration) *agentpb.RemoveContainerResponse {
	t.Helper()
	r, err := p.RemoveContainer(t.Context(), &agentpb.RemoveContainerRequest{Name: name, Grace: durationpb.New(grace)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPostStart_StartsTheContainerOnceItIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		begin := time.Now()
		c := find(p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.PostStart = sleepHandler(time.Minute) }).GetPod(), "c")
		if time.Since(begin) != 0 || c.GetState() != agentpb.ContainerState_RUNNING || c.GetStarted() || c.GetReady() {
			t.Errorf("after %v: %v", time.Since(begin), c)
		}
		time.Sleep(61 * time.Second)
		if c := p.state("c"); !c.GetStarted() || !c.GetReady() {
			t.Errorf("got %v", c)
		}
	})
}

func TestPostStart_FailureEndsTheContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.rt.onExec = func([]string) *fakeExec { return &fakeExec{code: 1, output: "no way"} }
		p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.PostStart = execHandler("hook") })
		c := find(p.wait(t, "c").GetPod(), "c")
		if c.GetMessage() != "postStart failed: exit code 1: no way" || c.GetExitCode() != 143 || c.GetStarted() {
			t.Errorf("got %v", c)
		}
	})
}

func TestPostStart_EndsWithItsContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.PostStart = execHandler("hangs") })
		hook := <-p.rt.execs
		p.remove(t, "c", time.Second)
		<-hook.Done()
		if hook.Exit().Code != 137 {
			t.Errorf("got %v", hook.Exit())
		}
	})
}

func TestPreStop_BeforeTheSignalWithinTheGrace(t *testing.T) {
	for what, tc := range map[string]struct {
		hook, grace, want time.Duration
		deaf              bool
		code              int32
	}{
		"quick":                     {time.Second, 10 * time.Second, time.Second, false, 143},
		"then the rest":             {4 * time.Second, 10 * time.Second, 10 * time.Second, true, 137},
		"uses the grace up":         {time.Minute, 10 * time.Second, 10 * time.Second, false, 143},
		"then two seconds":          {time.Minute, 10 * time.Second, 12 * time.Second, true, 137},
		"less than two are left":    {9 * time.Second, 10 * time.Second, 11 * time.Second, true, 137},
		"without grace there is no": {time.Second, 0, 0, false, 137},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPod(t)
				p.rt.deafTERM = tc.deaf
				p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.PreStop = sleepHandler(tc.hook) })
				begin := time.Now()
				if r := p.remove(t, "c", tc.grace); time.Since(begin) != tc.want || r.GetExitCode() != tc.code {
					t.Errorf("exit code %d after %v", r.GetExitCode(), time.Since(begin))
				}
			})
		})
	}
}

func TestPreStop_NotForOneThatHasEnded(t *testing.T) {
	p := newPod(t)
	p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.PreStop = execHandler("hook") })
	p.rt.proc("c-0").end(Exit{})
	p.remove(t, "c", time.Minute)
	if n := p.rt.count("Exec"); n != 0 {
		t.Errorf("%d hooks were run", n)
	}
}

func TestPreStop_CutShortByTheContainersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.PreStop = execHandler("hangs") })
		var wg sync.WaitGroup
		wg.Go(func() { p.remove(t, "c", time.Minute) })
		hook := <-p.rt.execs
		begin := time.Now()
		p.rt.proc("c-0").end(Exit{})
		wg.Wait()
		if <-hook.Done(); time.Since(begin) != 0 {
			t.Errorf("took %v", time.Since(begin))
		}
	})
}

func TestEnding_AnotherCallCanOnlyHastenIt(t *testing.T) {
	for what, tc := range map[string]struct{ second, want time.Duration }{
		"less": {5 * time.Second, 6 * time.Second}, "none": {0, time.Second}, "more": {time.Hour, 30 * time.Second},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPod(t)
				p.rt.deafTERM = true
				p.rt.onExec = func([]string) *fakeExec { return &fakeExec{code: 1} }
				begin := time.Now()
				p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.Liveness = execProbe(time.Second, 1, 1, "check") })
				time.Sleep(time.Second)
				p.remove(t, "c", tc.second)
				if took := time.Since(begin); took != tc.want {
					t.Errorf("took %v, want %v", took, tc.want)
				}
				if sig := p.rt.proc("c-0").signals; len(sig) != 1 {
					t.Errorf("signals %v", sig)
				}
			})
		})
	}
}

func TestShutdown_HastensARemovalUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.rt.deafTERM = true
		p.add(t, "c", "d")
		var wg sync.WaitGroup
		wg.Go(func() { p.remove(t, "c", time.Hour) })
		synctest.Wait()
		begin := time.Now()
		if _, err := p.Shutdown(t.Context(), &agentpb.ShutdownRequest{Grace: durationpb.New(3 * time.Second)}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
		wg.Wait()
		<-p.rt.off
	})
}

func TestEnding_CanBeTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.rt.deafTERM = true
		p.rt.onExec = func([]string) *fakeExec { return &fakeExec{code: 1} }
		p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.Liveness = execProbe(time.Second, 1, 1, "check") })
		proc := p.rt.proc("c-0")
		proc.mu.Lock()
		proc.deafKILL = true
		proc.mu.Unlock()
		time.Sleep(time.Hour)
		synctest.Wait()
		if c := p.state("c"); c.GetState() != agentpb.ContainerState_RUNNING || c.GetReady() {
			t.Errorf("got %v", c)
		}
		_, err := p.RemoveContainer(t.Context(), &agentpb.RemoveContainerRequest{Name: "c"})
		wantCode(t, err, codes.Internal)
		proc.end(Exit{Code: 9})
		if c := find(p.wait(t, "c").GetPod(), "c"); c.GetExitCode() != 9 || !strings.HasPrefix(c.GetMessage(), "liveness probe failed") {
			t.Errorf("got %v", c)
		}
	})
}

func TestStopSignal_InsteadOfTERM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.StopSignal = 3 })
		p.remove(t, "c", time.Second)
		if sig := p.rt.proc("c-0").signals; len(sig) != 1 || sig[0] != 3 {
			t.Errorf("signals %v", sig)
		}
	})
}

func TestHook_HTTPTakesAnyAnswer(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	p := newPod(t)
	p.add(t, "c", "d", func(c *agentpb.ContainerSpec) {
		c.PostStart = &agentpb.Handler{Action: &agentpb.Handler_HttpGet{HttpGet: &agentpb.HTTPGetAction{Port: portOf(t, srv.Listener.Addr())}}}
	})
	p.until(t, func(s *agentpb.PodState) bool { return find(s, "c").GetStarted() })
}

func TestShutdown_SidecarsLastAndInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		var mu sync.Mutex
		var order []string
		p.rt.onExec = func(argv []string) *fakeExec {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, argv[0])
			return &fakeExec{}
		}
		for _, name := range []string{"s1", "s2", "main1", "main2"} {
			p.add(t, name, "d", func(c *agentpb.ContainerSpec) {
				c.Sidecar = strings.HasPrefix(name, "s")
				c.Init = c.Sidecar
				c.PreStop = execHandler(name)
			})
		}
		if _, err := p.Shutdown(t.Context(), &agentpb.ShutdownRequest{Grace: durationpb.New(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		<-p.rt.off
		slices.Sort(order[:2])
		if want := "main1 main2 s2 s1"; strings.Join(order, " ") != want {
			t.Errorf("order %q, want %s", order, want)
		}
	})
}

func TestShutdown_TheGraceIsForAllTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.rt.deafTERM = true
		for i := range 4 {
			p.add(t, fmt.Sprintf("c%d", i), "d", func(c *agentpb.ContainerSpec) { c.Sidecar = i < 2 })
		}
		begin := time.Now()
		if _, err := p.Shutdown(t.Context(), &agentpb.ShutdownRequest{Grace: durationpb.New(10 * time.Second)}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("took %v", took)
		}
		<-p.rt.off
	})
}

func TestShutdown_ProbesEndNoContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.rt.deafTERM = true
		p.rt.onExec = func([]string) *fakeExec { return &fakeExec{code: 1} }
		p.add(t, "main", "d")
		p.add(t, "sidecar", "d", func(c *agentpb.ContainerSpec) {
			c.Sidecar = true
			c.Liveness = execProbe(2*time.Second, 1, 2, "check")
		})
		if _, err := p.Shutdown(t.Context(), &agentpb.ShutdownRequest{Grace: durationpb.New(10 * time.Second)}); err != nil {
			t.Fatal(err)
		}
		if c := p.state("sidecar"); c.GetMessage() != "" || c.GetExitCode() != 137 {
			t.Errorf("got %v", c)
		}
		<-p.rt.off
	})
}

func TestTerminationMessage(t *testing.T) {
	lines := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "line %d\n", i)
		}
		return b.String()
	}
	for what, tc := range map[string]struct {
		path         string
		fallback     bool
		said, output string
		code         int
		want         string
	}{
		"none":             {said: "x", code: 1},
		"said":             {path: "/dev/termination-log", said: "broken", output: "no", code: 1, fallback: true, want: "broken"},
		"said and well":    {path: "/dev/termination-log", said: "42", want: "42"},
		"nothing said":     {path: "/dev/termination-log", output: "no", code: 1},
		"fallback":         {path: "/dev/termination-log", output: "panic\n", code: 1, fallback: true, want: "panic\n"},
		"fallback, well":   {path: "/dev/termination-log", output: "panic\n", fallback: true},
		"80 lines":         {output: lines(100), code: 1, fallback: true, want: lines(100)[len(lines(20)):]},
		"2 KiB":            {output: strings.Repeat("x", 3000), code: 1, fallback: true, want: strings.Repeat("x", 2048)},
		"no UTF-8":         {path: "/t", said: "a\xffb", want: "a?b"},
		"too much is said": {path: "/t", said: strings.Repeat("y", 5000) + "z", want: strings.Repeat("y", 4095) + "z"},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPod(t)
			p.rt.said["c-0"] = tc.said
			p.add(t, "c", "d", func(c *agentpb.ContainerSpec) {
				c.TerminationMessagePath, c.TerminationMessageFallback = tc.path, tc.fallback
			})
			_, _ = io.WriteString(p.rt.proc("c-0").stdout, tc.output)
			p.rt.proc("c-0").end(Exit{Code: tc.code})
			if got := find(p.wait(t, "c").GetPod(), "c").GetMessage(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestTerminationMessage_ComesBeforeCleaning(t *testing.T) {
	p := newPod(t)
	gate := p.rt.hold("TerminationMessage")
	p.add(t, "c", "d", func(c *agentpb.ContainerSpec) { c.TerminationMessagePath = "/t" })
	p.rt.said["c-0"] = "last words"
	p.rt.proc("c-0").end(Exit{})
	<-gate.reached
	done := make(chan *agentpb.WaitContainerResponse)
	go func() { done <- p.wait(t, "c") }()
	if n := p.rt.count("Clean "); n != 0 {
		t.Error("cleaned before the message was read")
	}
	gate.release()
	if c := find((<-done).GetPod(), "c"); c.GetMessage() != "last words" {
		t.Errorf("got %v", c)
	}
}

func FuzzLastLines(f *testing.F) {
	f.Add([]byte("a\nb\nc\n"), 3, 2)
	f.Add([]byte(""), 0, 0)
	f.Add([]byte("\n\n\n"), 2, 1)
	f.Fuzz(func(t *testing.T, b []byte, maxBytes, maxLines int) {
		if maxBytes < 0 || maxLines < 1 {
			return
		}
		got := lastLines(b, maxBytes, maxLines)
		if len(got) > maxBytes || !bytes.HasSuffix(b, got) {
			t.Fatalf("got %q of %q", got, b)
		}
		if n := bytes.Count(bytes.TrimSuffix(got, []byte("\n")), []byte("\n")) + 1; n > maxLines {
			t.Fatalf("%d lines in %q", n, got)
		}
	})
}
