package actual

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestMirrorFollowsEvents(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		wait, stop := p.following()
		defer stop()
		pod := newPod("web", "sleep", "20")
		p.up(pod)
		begin := time.Now()
		wait("the container has ended", func() bool {
			c := p.status(pod.Ref).Containers
			return len(c) == 1 && c[0].State == schema.ContainerExited
		})
		if took := time.Since(begin); took > 21*time.Second {
			t.Errorf("the end was seen after %s", took)
		}
	})
}

func TestDeathIsSeenAndSurvived(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		wait, stop := p.following()
		defer stop()
		pod := newPod("web", "sleep", "infinity")
		p.up(pod)
		id := p.status(pod.Ref).UID
		begin := time.Now()
		p.kill(pod.Ref)
		wait("the pod is dead", func() bool { return p.status(pod.Ref).Machine == schema.MachineDead })
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the death was seen after %s", took)
		}
		s := p.status(pod.Ref)
		if len(s.Containers) != 0 || !strings.Contains(s.Message, "killed") || len(s.Failures) != 1 || s.Failures[0].Reason != "MachineDied" {
			t.Errorf("dead pod = %+v", s)
		}
		time.Sleep(time.Minute) // the follower asks ever less often
		p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
		s = p.status(pod.Ref)
		if s.Machine != schema.MachineRunning || s.UID != id || len(s.Containers) != 1 || len(s.EmptyDirs) != 1 || len(s.Failures) != 0 {
			t.Fatalf("revived pod = %+v", s)
		}
		if c := s.Containers[0]; c.State != schema.ContainerTerminated || c.ExitCode != 255 || c.Reason != "MachineDied" {
			t.Errorf("container = %+v", c)
		}
		// It is followed again at once.
		begin = time.Now()
		p.kill(pod.Ref)
		wait("the pod is dead again", func() bool { return p.status(pod.Ref).Machine == schema.MachineDead })
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the second death was seen after %s", took)
		}
	})
}

func TestDeathsBackOffUntilAPodStaysUp(t *testing.T) {
	dir := t.TempDir()
	inBubble(t, dir, func(t *testing.T, p *pods) {
		wait, stop := p.following()
		defer stop()
		pod := newPod("web", "sleep", "infinity")
		p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
		dies := func(attempts int) {
			t.Helper()
			p.kill(pod.Ref)
			wait("the pod is dead", func() bool { return p.status(pod.Ref).Machine == schema.MachineDead })
			if f := p.status(pod.Ref).Failures; len(f) != 1 || f[0].Attempts != attempts || f[0].Digest != pod.VMDigest() {
				t.Errorf("failures after death %d: %+v", attempts, f)
			}
			p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
		}
		for n := range 4 {
			time.Sleep(30 * time.Second)
			dies(n + 1)
		}
		// What is remembered survives the observer.
		if f := p.another(Options{FailureDir: dir}).failures.all()[pod.Ref].Failures; len(f) != 1 || f[0].Attempts != 4 {
			t.Errorf("remembered: %+v", f)
		}
		time.Sleep(11 * time.Minute)
		if f := p.failures.all()[pod.Ref].Failures; len(f) != 0 {
			t.Errorf("after 11 minutes: %+v", f)
		}
		dies(1)
		// What we end ourselves is no death.
		p.must(reconcile.Remove, reconcile.KindPod, pod.Name, pod)
		synctest.Wait()
		if all := p.all(); len(all) != 0 {
			t.Errorf("pods = %+v", all)
		}
	})
}

func TestSilentAgentIsUnknown(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		quiet, other := newPod("quiet", "sleep", "infinity"), newPod("other", "sleep", "infinity")
		p.up(quiet)
		p.up(other)
		p.driver.set("quiet", hung{})
		wait, stop := p.following()
		defer stop()
		wait("it is unknown", func() bool { return p.status(quiet.Ref).Machine == schema.MachineUnknown })
		s := p.status(quiet.Ref)
		if s.Message != "no answer within 5s" || len(s.Containers) != 1 || len(s.Failures) != 0 {
			t.Errorf("silent pod = %+v", s)
		}
		if s := p.status(other.Ref); s.Machine != schema.MachineRunning {
			t.Errorf("other pod = %+v", s)
		}
		p.driver.set("quiet", nil)
		wait("it is back", func() bool { return p.status(quiet.Ref).Machine == schema.MachineRunning })
	})
}

func TestAHungPodDelaysNoQuestionAboutAnother(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		quiet, other := newPod("quiet", "sleep", "infinity"), newPod("other", "sleep", "infinity")
		p.up(quiet)
		p.up(other)
		p.driver.set("quiet", hung{})
		began := time.Now()
		if err := p.RefreshOf(t.Context(), func(r schema.Ref) bool { return r == other.Ref }); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took >= time.Second {
			t.Errorf("it took %s", took)
		}
		if s := p.status(other.Ref); s.Machine != schema.MachineRunning {
			t.Errorf("the pod that was asked for = %+v", s)
		}
		if s := p.status(quiet.Ref); s.Machine != schema.MachineUnknown {
			t.Errorf("the other pod = %+v", s)
		}
	})
}

func TestListFailures(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		p.driver.listErr = errors.New("disk is gone")
		if s, err := p.Pods(t.Context()); err == nil || s.Known || !strings.Contains(s.Reason, "disk is gone") {
			t.Errorf("pods = %+v, %v", s, err)
		}
		p.driver.listErr, p.driver.listHang = nil, true
		begin := time.Now()
		if s, err := p.Pods(t.Context()); err == nil || s.Known || s.Reason != "list machines: no answer within 30s" || time.Since(begin) != listTimeout {
			t.Errorf("pods = %+v, %v", s, err)
		}
		// Once seen, what was known is kept.
		p.driver.listHang = false
		pod := newPod("web", "sleep", "infinity")
		p.up(pod)
		p.driver.listErr = errors.New("disk is gone")
		if err := p.Refresh(t.Context()); err == nil {
			t.Error("refresh: no error")
		}
		if s := p.status(pod.Ref); s.Machine != schema.MachineRunning {
			t.Errorf("status = %+v", s)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("told to stop"))
		p.driver.listErr = nil
		if err := p.Refresh(ctx); err == nil || !strings.Contains(err.Error(), "told to stop") {
			t.Errorf("cancelled refresh: %v", err)
		}
		if s := p.status(pod.Ref); s.Machine != schema.MachineRunning {
			t.Errorf("status after a cancelled refresh = %+v", s)
		}
	})
}

func TestAnotherObserverSeesTheSame(t *testing.T) {
	dir := t.TempDir()
	inBubble(t, dir, func(t *testing.T, p *pods) {
		for _, name := range []string{"b", "a", "c"} {
			p.up(newPod(name, "sleep", "infinity"))
		}
		p.kill(schema.Ref{Namespace: "default", Name: "c"})
		synctest.Wait()
		p.refresh()
		if diff := cmp.Diff(p.all(), p.another(Options{FailureDir: dir}).all()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMachinesMadeAndDeletedElsewhere(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		other := p.another(Options{})
		wait, stop := p.following()
		defer stop()
		pod := newPod("web", "sleep", "infinity")
		p.all()
		other.up(pod)
		wait("it is there", func() bool { return p.status(pod.Ref).Machine == schema.MachineRunning })
		other.must(reconcile.Remove, reconcile.KindPod, pod.Name, pod)
		wait("it is gone", func() bool { return len(p.all()) == 0 })
	})
}

func TestTwoMachinesOfOnePod(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		p.up(pod)
		other := p.another(Options{})
		if _, err := other.createMachine(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		p.refresh()
		s := p.status(pod.Ref)
		if s.Machine != schema.MachineUnknown || !strings.Contains(s.Message, "two machines claim to be this pod") || len(p.all()) != 1 {
			t.Errorf("status = %+v", s)
		}
		if _, err := p.do(reconcile.Add, reconcile.KindPod, pod.Name, pod); err == nil || !strings.Contains(err.Error(), "2 machines claim") {
			t.Errorf("add: %v", err)
		}
		p.must(reconcile.Remove, reconcile.KindPod, pod.Name, pod)
		p.refresh()
		if all := p.all(); len(all) != 0 {
			t.Errorf("pods = %+v", all)
		}
	})
}

func TestLostRecords(t *testing.T) {
	for _, record := range []string{"", "{", `{"namespace":"..","name":"/x"}`} {
		inBubble(t, t.TempDir(), func(t *testing.T, p *pods) {
			pod, other := newPod("web", "sleep", "infinity"), newPod("other", "sleep", "infinity")
			p.up(pod)
			p.up(other)
			p.driver.mangle = func(info *driver.Info) {
				if info.Spec.Name == "default/web" {
					info.Spec.Annotations = map[string]string{annotationPod: record}
				}
			}
			q := p.another(Options{})
			s := q.status(pod.Ref)
			if s.Machine != schema.MachineRunning || s.Source != pod.Source || s.VMDigest != pod.VMDigest() || cmp.Diff(pod, s.Spec) != "" {
				t.Errorf("%q: named by the guest: %+v", record, s)
			}
			// So it is for whoever knew the record: what the guest says is asked for anew, or not.
			p.refresh()
			if s := p.status(pod.Ref); s.Machine != schema.MachineRunning || cmp.Diff(pod, s.Spec) != "" {
				t.Errorf("%q: named by the guest, known before: %+v", record, s)
			}
			// Nothing that the guest says makes it a pod that another machine was made for.
			for _, name := range []string{"other", "../x", "", "UPPER"} {
				p.driver.set("web", liar{&agentpb.PodState{Pod: &agentpb.PodIdentity{Namespace: "default", Name: name}}})
				q := p.another(Options{})
				if s := q.status(other.Ref); s.Machine != schema.MachineRunning {
					t.Errorf("%q: claims to be %q: %+v", record, name, s)
				}
				if s := q.status(schema.Ref{Name: p.status(pod.Ref).UID}); s.Machine != schema.MachineUnknown || s.Message == "" {
					t.Errorf("%q: machine without a name = %+v", record, s)
				}
			}
			// One that nobody can name can still be deleted.
			q = p.another(Options{})
			id := schema.Ref{Name: p.status(pod.Ref).UID}
			q.all()
			if _, err := q.Apply(t.Context(), reconcile.Action{Type: reconcile.Remove, Kind: reconcile.KindPod, Pod: id}); err != nil {
				t.Error(err)
			}
			q.refresh()
			if all := q.all(); len(all) != 1 || all[0].Ref != other.Ref {
				t.Errorf("%q: pods = %+v", record, all)
			}
		})
	}
}

func TestPodsDecodesOnlyWhatChanged(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		p.up(pod)
		p.refresh() // the store's usage is measured when asked for
		first, second := p.status(pod.Ref), p.status(pod.Ref)
		if first.Spec != second.Spec || first.Containers[0].Spec != second.Containers[0].Spec {
			t.Error("the status was made anew without a change")
		}
		p.refresh()
		if again := p.status(pod.Ref); first.Spec != again.Spec {
			t.Error("an answer without news made the status anew")
		}
		p.must(reconcile.Remove, reconcile.KindContainer, "main", pod)
		if s := p.status(pod.Ref); len(s.Containers) != 0 || len(first.Containers) != 1 {
			t.Errorf("status = %+v", s)
		}
	})
}

func TestStaleAnswerOfAnEarlierLife(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		p.up(pod)
		m, err := p.one(pod.Ref)
		if err != nil {
			t.Fatal(err)
		}
		stopped := m.info
		stopped.State = driver.StateStopped
		question := m.asks
		p.refresh()
		p.answer(m, question, stopped, nil, nil)
		if s := p.status(pod.Ref); s.Machine != schema.MachineRunning || len(p.failures.all()) != 0 {
			t.Errorf("status = %+v", s)
		}
	})
}

var _ grpc.ClientConnInterface = hung{}

func BenchmarkPods(b *testing.B) {
	o := New(nil, nil, Options{})
	o.machines = make(map[string]*machine)
	for i := range 10_000 {
		pod := newPod("web-"+strings.Repeat("x", i%40)+string(rune('a'+i%26)), "true")
		pod.Namespace = "ns" + time.Duration(i).String()
		m := newMachine(named(pod.Namespace), 0)
		m.made = pod
		o.machines[pod.Namespace] = m
	}
	for b.Loop() {
		if s, err := o.Pods(b.Context()); err != nil || len(s.Pods) != 10_000 {
			b.Fatal(len(s.Pods), err)
		}
	}
}

// named is a machine of which only the id matters.
type named string

func (n named) ID() string                                  { return string(n) }
func (named) Info(context.Context) (driver.Info, error)     { return driver.Info{}, nil }
func (named) Agent() grpc.ClientConnInterface               { return hung{} }
func (named) AttachDisk(context.Context, driver.Disk) error { return nil }
func (named) DetachDisk(context.Context, string) error      { return nil }
func (named) Start(context.Context) error                   { return nil }
func (named) Stop(context.Context) error                    { return nil }
func (named) Delete(context.Context) error                  { return nil }
