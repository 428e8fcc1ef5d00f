package actual

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// failureOn is the standing failure of a kind, the zero one when there is none.
func failureOn(s schema.PodStatus, kind reconcile.Kind) schema.Failure {
	for _, f := range s.Failures {
		if f.Kind == string(kind) {
			return f
		}
	}
	return schema.Failure{}
}

func TestFailuresCountUntilSuccess(t *testing.T) {
	dir := t.TempDir()
	inBubble(t, dir, func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
		p.must(reconcile.Add, reconcile.KindEmptyDir, "data", pod)
		p.images.err = &image.PullError{Ref: "guest:/", Reason: image.ReasonPull, Err: errors.New("no such host")}
		for n := 1; n <= 3; n++ {
			if _, err := p.do(reconcile.Add, reconcile.KindContainer, "main", pod); err == nil {
				t.Fatal("added")
			}
			f := failureOn(p.status(pod.Ref), reconcile.KindContainer)
			if f.Attempts != n || f.Reason != "ErrImagePull" || f.Name != "main" || f.Digest != pod.Containers[0].Digest() ||
				f.At.IsZero() || !strings.Contains(f.Message, "no such host") {
				t.Errorf("failure %d = %+v", n, f)
			}
		}
		// It survives the observer.
		want := p.status(pod.Ref).Failures
		again := p.another(Options{FailureDir: dir})
		if diff := cmp.Diff(want[0].Attempts, failureOn(again.status(pod.Ref), reconcile.KindContainer).Attempts); diff != "" {
			t.Error(diff)
		}
		// Another spec starts anew.
		changed := *pod
		changed.Containers = []schema.Container{pod.Containers[0]}
		changed.Containers[0].Args = []string{"1"}
		if _, err := again.do(reconcile.Add, reconcile.KindContainer, "main", &changed); err == nil {
			t.Fatal("added")
		}
		if f := failureOn(again.status(pod.Ref), reconcile.KindContainer); f.Attempts != 1 {
			t.Errorf("failure of another spec = %+v", f)
		}
		p.images.err = nil
		again.must(reconcile.Add, reconcile.KindContainer, "main", pod)
		if f := again.status(pod.Ref).Failures; len(f) != 0 {
			t.Errorf("after success: %+v", f)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
			t.Errorf("files left: %v, %v", files, err)
		}
	})
}

func TestFailuresOfAPodNobodyWantsAreForgotten(t *testing.T) {
	inBubble(t, t.TempDir(), func(t *testing.T, p *pods) {
		gone, sick := newPod("gone", "true"), newPod("sick", "true")
		if err := p.faults.Set("Create", "1*error(no memory)"); err != nil {
			t.Fatal(err)
		}
		if _, err := p.do(reconcile.Add, reconcile.KindPod, gone.Name, gone); err == nil {
			t.Fatal("added")
		}
		p.must(reconcile.Add, reconcile.KindPod, sick.Name, sick)
		p.images.err = errors.New("x")
		if _, err := p.do(reconcile.Add, reconcile.KindContainer, "main", sick); err == nil {
			t.Fatal("added")
		}
		for _, want := range []int{2, 1} {
			p.refresh()
			if all := p.all(); len(all) != want || len(p.status(sick.Ref).Failures) != 1 {
				t.Errorf("pods = %v, want %d", all, want)
			}
			time.Sleep(25 * time.Hour)
		}
	})
}

func TestReasons(t *testing.T) {
	plain := errors.New("x")
	for want, tt := range map[string]struct {
		typ  reconcile.ActionType
		kind reconcile.Kind
		err  error
	}{
		"BootFailed":           {reconcile.Add, reconcile.KindPod, plain},
		"CreateContainerError": {reconcile.Add, reconcile.KindContainer, ErrNoCommand},
		"CreateVolumeError":    {reconcile.Add, reconcile.KindEmptyDir, plain},
		"RemoveFailed":         {reconcile.Remove, reconcile.KindContainer, plain},
		"TrimFailed":           {reconcile.Trim, reconcile.KindPod, plain},
		"InvalidImageName":     {reconcile.Add, reconcile.KindContainer, &image.PullError{Reason: image.ReasonInvalidName, Err: plain}},
	} {
		f := failureOf(reconcile.Action{Type: tt.typ, Kind: tt.kind, Name: "a"}, tt.err)
		if f.Reason != want || f.Kind != string(tt.kind) || f.Digest != "" {
			t.Errorf("%+v, want %s", f, want)
		}
	}
}

func TestCancellationIsNoFailure(t *testing.T) {
	inBubble(t, t.TempDir(), func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
		p.images.hang = true
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("ctrl-c"))
		a := reconcile.Action{Type: reconcile.Add, Kind: reconcile.KindContainer, Pod: pod.Ref, Name: "main", Spec: pod}
		if _, err := p.Apply(ctx, a); err == nil {
			t.Fatal("added")
		}
		if f := p.status(pod.Ref).Failures; len(f) != 0 {
			t.Errorf("failures = %+v", f)
		}
	})
}

func TestFailedTrimIsApartFromBoots(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web", "sleep", "infinity")
		p.up(pod)
		if err := p.faults.Set("Trim", "2*error(no discard)"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := p.do(reconcile.Trim, reconcile.KindPod, pod.Name, pod); err == nil {
				t.Fatal("trimmed")
			}
		}
		if f := failureOn(p.status(pod.Ref), reconcile.KindPod); f.Reason != "TrimFailed" || f.Attempts != 2 {
			t.Errorf("failure = %+v", f)
		}
		p.kill(pod.Ref)
		p.refresh()
		if f := failureOn(p.status(pod.Ref), reconcile.KindPod); f.Reason != "MachineDied" || f.Attempts != 1 {
			t.Errorf("failure after death = %+v", f)
		}
		p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
		if f := p.status(pod.Ref).Failures; len(f) != 0 {
			t.Errorf("shown while it runs: %+v", f)
		}
		p.must(reconcile.Trim, reconcile.KindPod, pod.Name, pod)
		if f := p.failures.all()[pod.Ref].Failures; len(f) != 1 || f[0].Reason != "MachineDied" {
			t.Errorf("remembered: %+v", f)
		}
	})
}

func TestFailedRemovalIsApartFromBoots(t *testing.T) {
	ref := schema.Ref{Namespace: "default", Name: "web"}
	f := newFailures("", false, logr.Discard())
	fails := func(reason string, attempts int) {
		t.Helper()
		f.add(ref, nil, schema.Failure{Kind: string(reconcile.KindPod), Name: ref.Name, Reason: reason, At: time.Now()})
		if list := f.all()[ref].Failures; len(list) != 1 || list[0].Reason != reason || list[0].Attempts != attempts {
			t.Errorf("failures = %+v, want one, %s for the %d. time", list, reason, attempts)
		}
	}
	fails("BootFailed", 1)
	fails("BootFailed", 2)
	fails(schema.ReasonRemoveFailed, 1)
	fails(schema.ReasonRemoveFailed, 2)
}

func TestUnusableFailureFiles(t *testing.T) {
	dir := t.TempDir()
	ref := schema.Ref{Namespace: "default", Name: "web"}
	failure := schema.Failure{Kind: "pod", Name: "web", Reason: "BootFailed"}
	newFailures(dir, false, logr.Discard()).add(ref, nil, failure)
	for name, text := range map[string]string{
		"default_bad.json":     "{",
		"default_foreign.json": `{"ref":{"namespace":"x","name":"y"},"failures":[{"kind":"pod"}]}`,
		"default_null.json":    "null",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Who only looks changes nothing.
	if all := newFailures(dir, true, logr.Discard()).all(); len(all) != 1 {
		t.Errorf("looked at: %v", all)
	}
	if aside, _ := filepath.Glob(filepath.Join(dir, "*.bad")); len(aside) != 0 {
		t.Errorf("put aside by looking: %v", aside)
	}
	if all := newFailures(dir, false, logr.Discard()).all(); len(all) != 1 || all[ref].Failures[0].Reason != "BootFailed" {
		t.Errorf("read: %v", all)
	}
	if aside, _ := filepath.Glob(filepath.Join(dir, "*.json.bad")); len(aside) != 3 {
		t.Errorf("put aside: %v", aside)
	}
	info, err := os.Stat(filepath.Join(dir, "default_web.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestLookersFollowTheOwner(t *testing.T) {
	dir := t.TempDir()
	ref := schema.Ref{Namespace: "default", Name: "web"}
	owner, looker := newFailures(dir, false, logr.Discard()), newFailures(dir, true, logr.Discard())
	owner.add(ref, nil, schema.Failure{Kind: "pod", Name: "web"})
	looker.reread()
	if len(looker.all()) != 1 {
		t.Error("the owner's failure is not seen")
	}
	looker.add(ref, nil, schema.Failure{Kind: "container", Name: "main"})
	looker.clearPod(ref)
	if all := newFailures(dir, false, logr.Discard()).all(); len(all[ref].Failures) != 1 {
		t.Errorf("a looker wrote: %v", all)
	}
}

func TestUnwritableFailureDirIsMemoryOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFailures(filepath.Join(file, "failures"), false, logr.Discard())
	ref := schema.Ref{Namespace: "default", Name: "web"}
	for range 2 {
		f.add(ref, newPod("web"), schema.Failure{Kind: "pod", Name: "web"})
	}
	if all := f.all(); len(all) != 1 || all[ref].Failures[0].Attempts != 2 || all[ref].Source != "/pods" {
		t.Errorf("failures = %v", all)
	}
	f.clear(ref, "pod", "web")
	if len(f.all()) != 0 {
		t.Error("not cleared")
	}
}

func TestAgentErrorsInWords(t *testing.T) {
	wire := status.Error(codes.FailedPrecondition, "no such container")
	err := fromAgent(t.Context(), wire)
	if err.Error() != "no such container" || status.Code(err) != codes.FailedPrecondition || !errors.Is(err, wire) {
		t.Errorf("%v", err)
	}
	if err := fromAgent(t.Context(), status.Error(codes.Unavailable, "")); err.Error() != "Unavailable" {
		t.Errorf("%v", err)
	}
	plain := errors.New("plain")
	if err := fromAgent(t.Context(), plain); !errors.Is(err, plain) || err.Error() != "plain" {
		t.Errorf("%v", err)
	}
	if err := fromAgent(t.Context(), nil); err != nil {
		t.Errorf("%v", err)
	}
	ctx, cancel := limit(t.Context(), 0)
	defer cancel()
	<-ctx.Done()
	if err := fromAgent(ctx, status.FromContextError(ctx.Err()).Err()); err.Error() != "no answer within 0s" {
		t.Errorf("%v", err)
	}
}
