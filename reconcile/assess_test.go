package reconcile

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestAssessProbesSidecarsAndJobs tells verdicts by their words.
func TestAssessProbesSidecarsAndJobs(t *testing.T) {
	web := box{name: "a", inits: []string{"+s=1", "i=1"}, containers: []string{"c=1", "d=1"}}
	never := with(web, func(b *box) { b.policy = schema.RestartNever })
	job := with(never, func(b *box) { b.job = &schema.Job{Name: "j", BackoffLimit: 1, Parallelism: 1} })
	onFailure := with(job, func(b *box) { b.policy = schema.RestartOnFailure })
	timed := with(onFailure, func(b *box) { b.job, b.deadline = nil, 60 })
	bare := func(*schema.PodStatus) {}
	unready := func(kind, message string) func(*schema.PodStatus) {
		return func(s *schema.PodStatus) {
			c := findContainer(s, "c")
			c.Ready, c.Probes = false, []schema.ProbeStatus{{Kind: kind, Failures: 1, Message: message}}
		}
	}
	done := func(code int, runs ...time.Duration) func(*schema.PodStatus) {
		return func(s *schema.PodStatus) {
			ended(s, "c", schema.ContainerTerminated, code, runs...)
			ended(s, "d", schema.ContainerTerminated, 0, time.Second)
		}
	}
	for name, c := range map[string]struct {
		box    box
		pod    func(*schema.Pod)
		status func(*schema.PodStatus)
		want   string // phase, ready or final, reason, message
	}{
		"ready": {web, nil, bare, "Running ready"},
		"unready": {web, func(p *schema.Pod) { p.Containers[0].Readiness = &schema.Probe{} }, unready(schema.ProbeReadiness, "HTTP status 503"),
			"Running NotReady: container c is not ready: readiness probe: HTTP status 503"},
		"unready, and nothing known": {web, func(p *schema.Pod) { p.Containers[0].Readiness = &schema.Probe{} }, func(s *schema.PodStatus) { findContainer(s, "c").Ready = false },
			"Running NotReady: container c is not ready"},
		"no probe, and an agent that says nothing": {web, nil, func(s *schema.PodStatus) { findContainer(s, "c").Ready, findContainer(s, "c").Started = false, false }, "Running ready"},
		"not started": {web, func(p *schema.Pod) { p.Containers[0].Startup = &schema.Probe{} }, func(s *schema.PodStatus) {
			unready(schema.ProbeStartup, "connection refused")(s)
			findContainer(s, "c").Started = false
		}, "Running NotReady: container c is not ready: it has not started yet: startup probe: connection refused"},
		"postStart goes on": {web, func(p *schema.Pod) { p.Containers[0].PostStart = &schema.Handler{} }, func(s *schema.PodStatus) { findContainer(s, "c").Started = false },
			"Running NotReady: container c is not ready: it has not started yet"},
		"liveness killed it": {web, nil, func(s *schema.PodStatus) {
			ended(s, "c", schema.ContainerTerminated, 137, time.Second)
			findContainer(s, "c").Message = "liveness probe failed: HTTP status 500"
		}, "Running CrashLoopBackOff: container c: it was ended: liveness probe failed: HTTP status 500 (exit code 137)"},
		"sidecar missing": {web, nil, func(s *schema.PodStatus) { s.Containers = nil }, "Pending PodInitializing: init container s has not run yet"},
		"sidecar not started": {web, func(p *schema.Pod) { p.InitContainers[0].Startup = &schema.Probe{} }, func(s *schema.PodStatus) {
			s.Containers = s.Containers[:1]
			s.Containers[0].Started = false
		}, "Pending PodInitializing: sidecar s has not started yet"},
		"sidecar unready": {web, func(p *schema.Pod) { p.InitContainers[0].Readiness = &schema.Probe{} }, func(s *schema.PodStatus) { findContainer(s, "s").Ready = false },
			"Running NotReady: container s is not ready"},
		"sidecar crashed":      {web, nil, func(s *schema.PodStatus) { ended(s, "s", schema.ContainerTerminated, 1) }, "Running CrashLoopBackOff: init container s: it ended with exit code 1"},
		"ended, sidecar gone":  {never, nil, func(s *schema.PodStatus) { done(0)(s); s.Containers = s.Containers[1:] }, "Succeeded ready final"},
		"ended, sidecar runs":  {never, nil, done(0), "Succeeded ready final"},
		"failed, sidecar gone": {never, nil, func(s *schema.PodStatus) { done(3)(s); s.Containers = s.Containers[1:] }, "Failed final Error: container c: it ended with exit code 3"},
		"lacks something":      {with(web, func(b *box) { b.missing = []string{"d"} }), nil, func(s *schema.PodStatus) { s.Containers = s.Containers[:3] }, "Running CreateContainerConfigError: container d waits for ConfigMap default/cm: key LEVEL"},
		"an init container lacks something": {with(web, func(b *box) { b.missing = []string{"s"} }), nil, func(s *schema.PodStatus) { s.Containers = nil },
			"Pending CreateContainerConfigError: container s waits for ConfigMap default/cm: key LEVEL"},
		"Job, to be tried again": {job, nil, done(1, time.Second), "Running CrashLoopBackOff: try 2 of 2 in Job j: container c: it ended with exit code 1"},
		"Job, failed and not reaped": {job, nil, func(s *schema.PodStatus) {
			done(1, time.Second)(s)
			findContainer(s, "c").State = schema.ContainerExited
		}, "Running CrashLoopBackOff: try 2 of 2 in Job j: container c: it ended with exit code 1"},
		"Job, failed for good": {job, nil, done(1, time.Second, time.Second), "Failed final BackoffLimitExceeded: backoffLimit 1 of Job j is reached: container c: it ended with exit code 1"},
		"Job, both failed in one try": {with(job, func(b *box) { b.job = &schema.Job{Name: "j", BackoffLimit: 2, Parallelism: 1} }), nil, func(s *schema.PodStatus) {
			ended(s, "c", schema.ContainerTerminated, 1, time.Second, time.Second)
			ended(s, "d", schema.ContainerTerminated, 1, time.Second, time.Second)
		}, "Running CrashLoopBackOff: try 3 of 3 in Job j: container d: it ended with exit code 1"},
		"Job, restarts":               {onFailure, nil, done(1, time.Second), "Running CrashLoopBackOff: container c: it ended with exit code 1"},
		"Job, restarts no more":       {onFailure, nil, done(1, time.Second, time.Second), "Failed final BackoffLimitExceeded: backoffLimit 1 of Job j is reached: container c: it ended with exit code 1"},
		"Job, done":                   {job, nil, done(0), "Succeeded ready final"},
		"in time":                     {timed, nil, func(s *schema.PodStatus) { s.CreatedAt = now.Add(-59 * time.Second) }, "Running ready"},
		"not begun":                   {timed, nil, func(s *schema.PodStatus) { s.CreatedAt = time.Time{} }, "Running ready"},
		"overdue":                     {timed, nil, func(s *schema.PodStatus) { s.CreatedAt = now.Add(-60 * time.Second) }, "Failed final DeadlineExceeded: activeDeadlineSeconds 60 is over; delete the pod to run it anew"},
		"overdue, and all is removed": {timed, nil, func(s *schema.PodStatus) { s.Containers = nil }, "Failed final DeadlineExceeded: activeDeadlineSeconds 60 is over; delete the pod to run it anew"},
		"overdue, and its VM died":    {timed, nil, func(s *schema.PodStatus) { s.Machine = schema.MachineDead }, "Failed final DeadlineExceeded: activeDeadlineSeconds 60 is over; delete the pod to run it anew"},
		"ended in time":               {timed, nil, done(0), "Succeeded ready final"},
	} {
		t.Run(name, func(t *testing.T) {
			d := pods(c.box)
			if c.pod != nil {
				c.pod(d.Pods[0])
			}
			p := allRunning(d.Pods[0])
			c.status(p)
			if got := verdictWords(AssessAt(d.Pods[0], p, now)); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// allRunning is a pod of an hour whose containers are what they should be.
func allRunning(pod *schema.Pod) *schema.PodStatus {
	s := &schema.PodStatus{Ref: pod.Ref, Machine: schema.MachineRunning, Configured: true, CreatedAt: now.Add(-time.Hour)}
	add := func(c *schema.Container, init bool) {
		seen := schema.ContainerStatus{Name: c.Name, Init: init, Digest: c.Digest(), State: schema.ContainerRunning, Started: true, Ready: true}
		if init && !c.Sidecar {
			seen.State, seen.Started, seen.Ready = schema.ContainerTerminated, false, false
		}
		s.Containers = append(s.Containers, seen)
	}
	for i := range pod.InitContainers {
		add(&pod.InitContainers[i], true)
	}
	for i := range pod.Containers {
		add(&pod.Containers[i], false)
	}
	return s
}

func verdictWords(v Verdict) string {
	s := string(v.Phase)
	if v.Ready {
		s += " ready"
	}
	if v.Final {
		s += " final"
	}
	return strings.TrimSuffix(s+" "+strings.TrimSuffix(v.Reason+": "+v.Message, ": "), " ")
}

func TestFailedRuns(t *testing.T) {
	run := func(digest string, code int) schema.Run { return schema.Run{Digest: digest, ExitCode: code} }
	for name, c := range map[string]struct {
		s    schema.ContainerStatus
		want int
	}{
		"none":                  {schema.ContainerStatus{State: schema.ContainerRunning}, 0},
		"one that is not told":  {schema.ContainerStatus{State: schema.ContainerExited, ExitCode: 1}, 1},
		"a success":             {schema.ContainerStatus{Runs: []schema.Run{run("d", 0), run("d", 1)}}, 1},
		"of another spec":       {schema.ContainerStatus{Runs: []schema.Run{run("e", 1), run("d", 1)}}, 1},
		"more than are kept":    {schema.ContainerStatus{RestartCount: 20, Runs: []schema.Run{run("d", 1), run("d", 1), run("d", 1), run("d", 1), run("d", 1), run("d", 1), run("d", 1), run("d", 1)}}, 21},
		"less than are counted": {schema.ContainerStatus{RestartCount: 20, Runs: []schema.Run{run("d", 1), run("d", 1)}}, 2},
	} {
		c.s.Digest = "d"
		if got := failedRuns(&c.s); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestDeadlineEndsAPodForGood: at the second, and nothing starts again.
func TestDeadlineEndsAPodForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := box{name: "a", inits: []string{"+s=1"}, containers: []string{"c=1"}, deadline: 40}
		m := newMachines(nil)
		d := &manifests{state: pods(b)}
		_, stop := running(t, d, m)
		defer stop()
		synctest.Wait()
		if got := differs(d.state, m.state()); got != "" {
			t.Fatal(got)
		}
		time.Sleep(40*time.Second - time.Millisecond)
		synctest.Wait()
		before := m.actions()
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		got := strings.Join(m.actions()[len(before):], ", ")
		if got != "remove container c of pod default/a, remove container s of pod default/a" {
			t.Errorf("at the deadline: %q, before: %q", got, before)
		}
		time.Sleep(time.Hour)
		if n := len(m.actions()); n != len(before)+2 {
			t.Errorf("%d actions more", n-len(before)-2)
		}
		s := m.state()
		if v := Assess(d.state.Pods[0], status(&s, "a")); v.Reason != ReasonDeadlineExceeded || !v.Final {
			t.Errorf("%+v", v)
		}
	})
}

// TestJobPodsTakeTurns: no more at a time than its parallelism says, and all in the end.
func TestJobPodsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		job := &schema.Job{Name: "j", Parallelism: 2}
		var boxes []box
		for _, name := range []string{"j-0", "j-1", "j-2", "j-3", "j-4"} {
			boxes = append(boxes, box{name: name, inits: []string{"+s=1"}, containers: []string{"c=1"}, policy: schema.RestartOnFailure, job: job})
		}
		m := newMachines(nil)
		most := 0
		d := &manifests{state: pods(boxes...)}
		l := NewLoop(d, m, Options{Log: logr.Discard(), Observer: watcher(func(actual schema.ActualState) {
			n := 0
			for _, p := range actual.Pods {
				if !Assess(d.state.Pods[0], p).Final {
					n++
				}
			}
			most = max(most, n)
		})})
		m.wake = l.Wake
		r, err := l.Converge(t.Context(), true)
		if err != nil || most > 2 {
			t.Errorf("error %v, %d at a time", err, most)
		}
		for _, p := range r.Pods {
			if p.Verdict.Phase != PhaseSucceeded {
				t.Errorf("%+v", p)
			}
		}
		if got := differs(d.state, m.state()); got != "" {
			t.Error(got)
		}
	})
}

// watcher is an Observer of looks.
type watcher func(schema.ActualState)

func (watcher) ActionStarted(Action)                                         {}
func (watcher) ActionFinished(Action, time.Duration, Result, error)          {}
func (w watcher) Looked(_ schema.DesiredState, a schema.ActualState, _ Plan) { w(a) }

// TestReadinessIsWaitedFor: Converge ends when the probe holds.
func TestReadinessIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pods(box{name: "a", containers: []string{"c=1"}})
		d.Pods[0].Containers[0].Readiness = &schema.Probe{PeriodSeconds: 1}
		m := newMachines(nil)
		l := NewLoop(&manifests{state: d}, m, Options{Log: logr.Discard()})
		m.wake = l.Wake
		ready := func(is bool) {
			m.mu.Lock()
			findContainer(m.world.pods[d.Pods[0].Ref], "c").Ready = is
			m.mu.Unlock()
			l.Wake()
		}
		if _, err := l.Converge(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		ready(false)
		time.AfterFunc(10*time.Second, func() { ready(true) })
		start := time.Now()
		if _, err := l.Converge(t.Context(), true); err != nil || time.Since(start) != 10*time.Second {
			t.Errorf("error %v after %s", err, time.Since(start))
		}
	})
}
