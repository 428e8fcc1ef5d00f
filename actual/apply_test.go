package actual

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestLifeOfAPod(t *testing.T) {
	inBubble(t, t.TempDir(), func(t *testing.T, p *pods) {
		pod := newPod("web", "sh", "-c", "sleep 3; exit 4")
		r := p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
		if len(r.Phases) != 2 || r.Phases[0].Name != "boot" || r.Phases[1].Name != "configure" {
			t.Errorf("phases = %v", r.Phases)
		}
		s := p.status(pod.Ref)
		if s.Machine != schema.MachineRunning || !s.Configured || s.UID == "" || s.BootID == "" || s.Driver != "sim" ||
			s.Source != pod.Source || s.VMDigest != pod.VMDigest() || s.StartedAt.IsZero() || s.Message != "" {
			t.Errorf("status = %+v", s)
		}
		if diff := cmp.Diff(pod, s.Spec); diff != "" {
			t.Error(diff)
		}
		p.must(reconcile.Add, reconcile.KindEmptyDir, "data", pod)
		if s := p.status(pod.Ref); len(s.EmptyDirs) != 1 || s.EmptyDirs[0].Name != "data" || s.EmptyDirs[0].Digest != pod.EmptyDirs[0].Digest() {
			t.Errorf("emptyDirs = %+v", s.EmptyDirs)
		}
		p.must(reconcile.Add, reconcile.KindContainer, "main", pod)
		c := p.status(pod.Ref).Containers[0]
		if c.Name != "main" || c.Digest != pod.Containers[0].Digest() || c.Image != "guest:/" || c.ID == "" || c.StartedAt.IsZero() {
			t.Errorf("container = %+v", c)
		}
		if diff := cmp.Diff(&pod.Containers[0], c.Spec); diff != "" {
			t.Error(diff)
		}
		if r := p.must(reconcile.Wait, reconcile.KindContainer, "main", pod); r.ExitCode == nil || *r.ExitCode != 4 {
			t.Errorf("wait = %+v", r)
		}
		c = p.status(pod.Ref).Containers[0]
		if c.State != schema.ContainerTerminated || c.ExitCode != 4 || c.Reason != "Error" || len(c.Runs) != 1 ||
			c.FinishedAt.Sub(c.StartedAt) < 3*time.Second || c.Runs[0].ExitCode != 4 {
			t.Errorf("container = %+v", c)
		}
		p.must(reconcile.Add, reconcile.KindContainer, "main", pod)
		if c := p.status(pod.Ref).Containers[0]; c.RestartCount != 1 {
			t.Errorf("restarted container = %+v", c)
		}
		if r := p.must(reconcile.Remove, reconcile.KindContainer, "main", pod); r.ExitCode == nil || *r.ExitCode != 143 {
			t.Errorf("remove = %+v", r)
		}
		p.must(reconcile.Remove, reconcile.KindContainer, "main", pod)
		p.must(reconcile.Remove, reconcile.KindEmptyDir, "data", pod)
		p.must(reconcile.Trim, reconcile.KindPod, pod.Name, pod)
		s = p.status(pod.Ref)
		if len(s.Containers)+len(s.EmptyDirs) != 0 || s.Store.TrimmedAt.IsZero() || s.Store.SizeBytes == 0 {
			t.Errorf("status = %+v", s)
		}
		p.must(reconcile.Remove, reconcile.KindPod, pod.Name, pod)
		p.must(reconcile.Remove, reconcile.KindPod, pod.Name, pod)
		p.refresh()
		if all := p.all(); len(all) != 0 {
			t.Errorf("pods = %+v", all)
		}
	})
}

func TestActionsThatCannotBe(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		if _, err := p.do(reconcile.Add, reconcile.KindContainer, "main", pod); !errors.Is(err, driver.ErrNotFound) ||
			err.Error() != "add container main of pod default/web: not found" {
			t.Errorf("add in no pod: %v", err)
		}
		p.up(pod)
		for what, a := range map[string]reconcile.Action{
			"declares no such emptyDir":  {Type: reconcile.Add, Kind: reconcile.KindEmptyDir, Name: "none"},
			"declares no such container": {Type: reconcile.Add, Kind: reconcile.KindContainer, Name: "none"},
			"no such action":             {Type: reconcile.Replace, Kind: reconcile.KindPod, Name: "web"},
		} {
			a.Pod, a.Spec = pod.Ref, pod
			if _, err := p.Apply(t.Context(), a); err == nil || !strings.Contains(err.Error(), what) {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := p.do(reconcile.Wait, reconcile.KindContainer, "none", pod)
		if err == nil || strings.Contains(err.Error(), "rpc error") {
			t.Errorf("wait for none: %v", err)
		}
		if _, err := p.Agent(schema.Ref{Namespace: "default", Name: "none"}); !errors.Is(err, driver.ErrNotFound) {
			t.Errorf("agent of none: %v", err)
		}
	})
}

func TestRecordKeepsWordsWithThePod(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		if err := p.Record(t.Context(), pod); err != nil {
			t.Errorf("of no pod: %v", err)
		}
		p.up(pod)
		changed := *pod
		changed.Labels = map[string]string{"new": "label"}
		if err := p.Record(t.Context(), &changed); err != nil {
			t.Fatal(err)
		}
		again := p.another(Options{})
		if diff := cmp.Diff(&changed, again.status(pod.Ref).Spec); diff != "" {
			t.Error(diff)
		}
	})
}

// TestReplacedContainersLeaveTheirDiskLast: the disk of a replaced container stays while its successor is made, and
// goes then if that is on another, or could not be made.
func TestReplacedContainersLeaveTheirDiskLast(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		other := pod.Containers[0]
		other.Name = "other"
		pod.Containers = append(pod.Containers, other)
		of := func(main, other string) *schema.Pod {
			changed := *pod
			changed.Containers = slices.Clone(pod.Containers)
			changed.Containers[0].Image, changed.Containers[1].Image = main, other
			return &changed
		}
		remove := func(name string, pod *schema.Pod) {
			t.Helper()
			action := reconcile.Action{Type: reconcile.Remove, Kind: reconcile.KindContainer, Pod: pod.Ref, Name: name, Spec: pod, Replacing: true}
			if _, err := p.Apply(t.Context(), action); err != nil {
				t.Fatal(err)
			}
		}
		took := func(what string, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, p.driver.took()); diff != "" {
				t.Errorf("%s (-want +got)\n%s", what, diff)
			}
		}
		first := of("disk-a", "disk-b")
		p.up(first)
		took("at first", "attach a", "attach b")
		remove("main", first)
		remove("other", first)
		p.must(reconcile.Add, reconcile.KindContainer, "main", first)
		p.must(reconcile.Add, reconcile.KindContainer, "other", first)
		took("both replaced on what they were on", "attach a", "attach b")
		second := of("disk-c", "disk-b")
		remove("main", second)
		p.must(reconcile.Add, reconcile.KindContainer, "main", second)
		took("one replaced on another image", "attach c", "detach a")
		third := of("mistyped", "disk-b")
		remove("main", third)
		p.images.err = errors.New("no such image")
		if _, err := p.do(reconcile.Add, reconcile.KindContainer, "main", third); !errors.Is(err, p.images.err) {
			t.Errorf("got %v", err)
		}
		took("one that could not be replaced", "detach c")
		p.images.err = nil
		remove("other", third)
		if err := p.faults.Set("StartContainer", "1*error(no memory)"); err != nil {
			t.Fatal(err)
		}
		if _, err := p.do(reconcile.Add, reconcile.KindContainer, "other", third); err == nil {
			t.Error("it was started")
		}
		took("one that may be on its disk, whatever its guest says", "attach b")
	})
}

func TestDisksLeaveWithTheirLastContainer(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		pod.Containers[0].Image = "disk-a"
		second := pod.Containers[0]
		second.Name = "second"
		pod.Containers = append(pod.Containers, second)
		p.up(pod)
		p.must(reconcile.Remove, reconcile.KindContainer, "main", pod)
		p.must(reconcile.Remove, reconcile.KindContainer, "second", pod)
		if diff := cmp.Diff([]string{"attach a", "attach a", "detach a"}, p.driver.took()); diff != "" {
			t.Error(diff)
		}
		if p.images.pull != image.PullDefault {
			t.Errorf("pull policy %q", p.images.pull)
		}
	})
}

func TestFailedBootLeavesNothing(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		if err := p.faults.Set("Create", "1*error(no memory)"); err != nil {
			t.Fatal(err)
		}
		pod := newPod("web")
		// A list that meets the half made machine must not keep it.
		if _, err := p.do(reconcile.Add, reconcile.KindPod, pod.Name, pod); err == nil || !strings.Contains(err.Error(), "no memory") {
			t.Fatalf("add: %v", err)
		}
		machines, err := p.driver.Machines(t.Context())
		if err != nil || len(machines) != 0 {
			t.Errorf("machines = %v, %v", machines, err)
		}
		s := p.status(pod.Ref)
		if s.Machine != schema.MachineAbsent || len(s.Failures) != 1 || s.Failures[0].Reason != "BootFailed" ||
			s.Failures[0].Digest != pod.VMDigest() || !strings.Contains(s.Failures[0].Message, "no memory") {
			t.Errorf("status = %+v", s)
		}
		p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
		if s := p.status(pod.Ref); s.Machine != schema.MachineRunning || len(s.Failures) != 0 {
			t.Errorf("after the retry: %+v", s)
		}
	})
}

func TestFailedConfigureStopsTheMachine(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		_, stop := p.following()
		defer stop()
		if err := p.faults.Set("OpenStore", "1*error(store is broken)"); err != nil {
			t.Fatal(err)
		}
		pod := newPod("web", "true")
		_, err := p.do(reconcile.Add, reconcile.KindPod, pod.Name, pod)
		if err == nil || !strings.Contains(err.Error(), "store is broken") || strings.Contains(err.Error(), "rpc error") {
			t.Fatalf("add: %v", err)
		}
		s := p.status(pod.Ref)
		if s.Machine != schema.MachineDead || len(s.Failures) != 1 || s.Failures[0].Reason != "BootFailed" || s.Failures[0].Attempts != 1 {
			t.Errorf("status = %+v", s)
		}
		p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
		if again := p.status(pod.Ref); again.Machine != schema.MachineRunning || again.UID != s.UID {
			t.Errorf("after the retry: %+v", again)
		}
	})
}

func TestDeadMachineOfAnotherSizeIsReplaced(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		p.up(pod)
		before := p.status(pod.Ref)
		p.kill(pod.Ref)
		p.refresh()
		larger := *pod
		larger.VM.StoreBytes *= 2
		p.must(reconcile.Add, reconcile.KindPod, pod.Name, &larger)
		after := p.status(pod.Ref)
		if after.UID == before.UID || after.VMDigest != larger.VMDigest() || len(after.Containers) != 0 || len(p.all()) != 1 {
			t.Errorf("status = %+v", after)
		}
	})
}

// TestStartThatFailedMayHaveHadEffect: a dead machine does not count as dead any more once it was started,
// whatever came of that, until it is asked.
func TestStartThatFailedMayHaveHadEffect(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		p.up(pod)
		p.kill(pod.Ref)
		p.refresh()
		p.driver.startErr = errors.New("the connection broke")
		p.driver.set("web", hung{})
		if _, err := p.do(reconcile.Add, reconcile.KindPod, pod.Name, pod); !errors.Is(err, p.driver.startErr) {
			t.Errorf("got %v", err)
		}
		if s := p.status(pod.Ref); s.Machine != schema.MachineUnknown {
			t.Errorf("its machine runs, says nothing and counts as %s", s.Machine)
		}
		// One that was not started after all is dead again.
		p.kill(pod.Ref)
		p.driver.startErr = nil
		if err := p.faults.Set("Start", "1*error(no memory)"); err != nil {
			t.Fatal(err)
		}
		if _, err := p.do(reconcile.Add, reconcile.KindPod, pod.Name, pod); err == nil {
			t.Error("it was started")
		}
		if s := p.status(pod.Ref); s.Machine != schema.MachineDead {
			t.Errorf("its machine is dead and counts as %s", s.Machine)
		}
	})
}

func TestRemovalOfASilentPodIsForced(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		p.up(pod)
		p.driver.set("web", hung{})
		p.refresh()
		if s := p.status(pod.Ref); s.Machine != schema.MachineUnknown {
			t.Fatalf("status = %+v", s)
		}
		begin := time.Now()
		a := reconcile.Action{Type: reconcile.Remove, Kind: reconcile.KindPod, Pod: pod.Ref, Name: pod.Name, Spec: pod, Grace: time.Hour}
		if _, err := p.Apply(t.Context(), a); err != nil || time.Since(begin) > time.Minute {
			t.Errorf("removed after %s, %v", time.Since(begin), err)
		}
		p.refresh()
		if all := p.all(); len(all) != 0 {
			t.Errorf("pods = %+v", all)
		}
	})
}

func TestRemovalGoesOnWhenGraceUsedUpTheTime(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "ignore-term")
		p.up(pod)
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
		defer cancel()
		a := reconcile.Action{Type: reconcile.Remove, Kind: reconcile.KindPod, Pod: pod.Ref, Name: pod.Name, Grace: 3 * time.Hour}
		if _, err := p.Apply(ctx, a); err != nil {
			t.Error(err)
		}
		if all := p.all(); len(all) != 0 {
			t.Errorf("pods = %+v", all)
		}
	})
}

func TestGraceIsWithinWhatAgentsTake(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		for _, grace := range []time.Duration{-time.Second, 0, 48 * time.Hour} {
			p.up(pod)
			for _, kind := range []reconcile.Kind{reconcile.KindContainer, reconcile.KindPod} {
				a := reconcile.Action{Type: reconcile.Remove, Kind: kind, Pod: pod.Ref, Name: "main", Spec: pod, Grace: grace}
				if _, err := p.Apply(t.Context(), a); err != nil {
					t.Errorf("%s with a grace of %s: %v", a, grace, err)
				}
			}
		}
	})
}

func TestCallsEnd(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		p.up(pod)
		p.driver.set("web", hung{})
		for _, a := range []reconcile.Action{
			{Type: reconcile.Add, Kind: reconcile.KindEmptyDir, Name: "data"},
			{Type: reconcile.Remove, Kind: reconcile.KindEmptyDir, Name: "data"},
			{Type: reconcile.Add, Kind: reconcile.KindContainer, Name: "main"},
			{Type: reconcile.Remove, Kind: reconcile.KindContainer, Name: "main"},
			{Type: reconcile.Wait, Kind: reconcile.KindContainer, Name: "main"},
			{Type: reconcile.Trim, Kind: reconcile.KindPod, Name: "web"},
		} {
			a.Pod, a.Spec = pod.Ref, pod
			if _, err := p.Apply(t.Context(), a); err == nil || !strings.Contains(err.Error(), "no answer within") {
				t.Errorf("%s: %v", a, err)
			}
		}
	})
}

func TestListUnderWayLosesNoNewMachine(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		old, pod := newPod("old", "true"), newPod("web", "true")
		p.up(old)
		p.driver.listed = func() {
			p.driver.listed = nil
			p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
			p.must(reconcile.Remove, reconcile.KindPod, old.Name, old)
		}
		p.refresh()
		refs := slices.Collect(func(yield func(schema.Ref) bool) {
			for _, s := range p.all() {
				yield(s.Ref)
			}
		})
		if diff := cmp.Diff([]schema.Ref{pod.Ref}, refs); diff != "" {
			t.Error(diff)
		}
	})
}

func TestListUnderWayRevivesNoDeletedMachine(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "true")
		p.up(pod)
		began := p.nextTick()
		handles, err := p.list(t.Context())
		if err != nil || len(handles) != 1 {
			t.Fatal(handles, err)
		}
		p.must(reconcile.Remove, reconcile.KindPod, pod.Name, pod)
		if current := p.adopt(handles, began); len(current) != 0 || len(p.all()) != 0 {
			t.Errorf("adopted %v", current)
		}
	})
}

func TestWhatWeEndIsNoDeath(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "true")
		p.up(pod)
		m, err := p.one(pod.Ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.undoBoot(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if s := p.status(pod.Ref); s.Machine != schema.MachineDead || len(s.Failures) != 0 {
			t.Errorf("status = %+v", s)
		}
		// The next life can die again.
		p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
		p.kill(pod.Ref)
		p.refresh()
		if f := p.status(pod.Ref).Failures; len(f) != 1 || f[0].Attempts != 1 {
			t.Errorf("failures = %+v", f)
		}
	})
}
