package actual

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/driver/sim"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

const imageBytes = 3 << 20

// withoutRuntimeDisks runs a test over machines that no disk can be attached to while they run.
// Images a and b are there; told returns the log's lines of images that were sent.
func withoutRuntimeDisks(t *testing.T, test func(t *testing.T, p *pods, told func() []string)) {
	t.Helper()
	dir := t.TempDir()
	for _, id := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, id), bytes.Repeat([]byte(id), imageBytes), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var lines []string
	log := funcr.New(func(_, line string) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(line, "sent into the pod's store") {
			lines = append(lines, line)
		}
	}, funcr.Options{})
	inBubbleOf(t, sim.Options{NoRuntimeDisks: true}, Options{Log: log}, func(t *testing.T, p *pods) {
		p.images.dir = dir
		test(t, p, func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(lines)
		})
	})
}

// used is what the pod's store holds.
func (p *pods) used(ref schema.Ref) int64 {
	p.t.Helper()
	time.Sleep(10 * time.Second) // figures are measured at times
	p.refresh()
	p.t.Helper()
	return p.status(ref).Store.UsedBytes
}

func TestImagesAreSentWhereNoDiskCanBeAttached(t *testing.T) {
	withoutRuntimeDisks(t, func(t *testing.T, p *pods, told func() []string) {
		pod := newPod("web", "sleep", "infinity")
		pod.Containers[0].Image = "disk-a"
		second := pod.Containers[0]
		second.Name = "second"
		pod.Containers = append(pod.Containers, second)
		pod.Volumes = []schema.Volume{{Name: "image", Image: &schema.ImageVolume{Reference: "disk-a"}}}
		p.up(pod)
		p.must(reconcile.Add, reconcile.KindVolume, "image", pod)
		if lines := told(); len(lines) != 1 || !strings.Contains(lines[0], `"pod"="default/web" "disk"="a"`) || !strings.Contains(lines[0], fmt.Sprintf(`"bytes"=%d`, imageBytes)) {
			t.Errorf("log: %q", lines)
		}
		// A new image reaches the running machine.
		changed := *pod
		changed.Containers = slices.Clone(pod.Containers)
		changed.Containers[1].Image = "disk-b"
		p.must(reconcile.Remove, reconcile.KindContainer, "second", pod)
		r := p.must(reconcile.Add, reconcile.KindContainer, "second", &changed)
		if !slices.ContainsFunc(r.Phases, func(ph reconcile.Phase) bool { return ph.Name == "stream" }) {
			t.Errorf("phases %v", r.Phases)
		}
		if before := p.used(pod.Ref); before < 2*imageBytes {
			t.Errorf("used %d", before)
		}
		// What nothing uses any more counts as free, and goes with the next trim.
		p.must(reconcile.Remove, reconcile.KindContainer, "second", &changed)
		time.Sleep(time.Hour)
		if after := p.used(pod.Ref); after < imageBytes || after >= 2*imageBytes {
			t.Errorf("used %d", after)
		}
		if r := p.must(reconcile.Trim, reconcile.KindPod, pod.Name, pod); r.TrimmedBytes < imageBytes {
			t.Errorf("trimmed %d", r.TrimmedBytes)
		}
		p.must(reconcile.Add, reconcile.KindContainer, "second", &changed)
		if n := len(told()); n != 3 {
			t.Errorf("%d images were sent", n)
		}
	})
}

func TestASentImageOutlivesItsMachine(t *testing.T) {
	withoutRuntimeDisks(t, func(t *testing.T, p *pods, told func() []string) {
		pod := newPod("web", "sleep", "infinity")
		pod.Containers[0].Image = "disk-a"
		p.up(pod)
		p.kill(pod.Ref)
		p.refresh()
		p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
		p.must(reconcile.Add, reconcile.KindContainer, "main", pod)
		if n := len(told()); n != 1 {
			t.Errorf("%d images were sent", n)
		}
	})
}

func TestImagesThatDoNotArrive(t *testing.T) {
	for name, c := range map[string]struct {
		store  int64
		faults string
		agent  func(grpc.ClientConnInterface) grpc.ClientConnInterface
		image  string
		want   []string
	}{
		"a store without room": {
			store: 2 << 20,
			want:  []string{"no space left on the pod's store", "vm.firkin.dev/store-size"},
		},
		"a guest that takes nothing": {faults: "hang", want: []string{"nothing of the image was taken for 1m0s"}},
		"a guest that fails":         {faults: "error(broken)", want: []string{"send the image into the pod's store", "broken"}},
		"a guest of before": {
			agent: func(c grpc.ClientConnInterface) grpc.ClientConnInterface { return older{c} },
			want:  []string{"no disk is attached to a running machine", "nor does its guest take one"},
		},
		"an image that is gone": {image: "disk-none", want: []string{"open template", "no such file"}},
	} {
		t.Run(name, func(t *testing.T) {
			withoutRuntimeDisks(t, func(t *testing.T, p *pods, told func() []string) {
				pod := newPod("web", "sleep", "infinity")
				pod.Containers[0].Image = "disk-a"
				if c.image != "" {
					pod.Containers[0].Image = c.image
				}
				if c.store != 0 {
					pod.VM.StoreBytes = c.store
				}
				p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
				p.must(reconcile.Add, reconcile.KindEmptyDir, "data", pod)
				if c.faults != "" {
					if err := p.faults.Set("CreateImage", c.faults); err != nil {
						t.Fatal(err)
					}
				}
				if c.agent != nil {
					m, err := p.one(pod.Ref)
					if err != nil {
						t.Fatal(err)
					}
					p.driver.set("web", c.agent(m.handle.(*tamperedMachine).Machine.Agent()))
				}
				_, err := p.do(reconcile.Add, reconcile.KindContainer, "main", pod)
				for _, want := range c.want {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("error %v, want %q", err, want)
					}
				}
				f := p.status(pod.Ref).Failures
				if len(f) != 1 || f[0].Reason != reasonCreateContainer || strings.Contains(f[0].Message, "rpc error") {
					t.Errorf("failures %+v", f)
				}
				if n := len(told()); n != 0 {
					t.Errorf("%d images were sent", n)
				}
			})
		})
	}
}

// older is the agent of a guest that does not know images yet.
type older struct{ grpc.ClientConnInterface }

func (o older) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if method == agentpb.Agent_AddImage_FullMethodName {
		return nil, status.Error(codes.Unimplemented, "unknown method AddImage")
	}
	return o.ClientConnInterface.NewStream(ctx, desc, method, opts...)
}

func TestClaimsWhereNoDiskCanBeAttached(t *testing.T) {
	withoutRuntimeDisks(t, func(t *testing.T, p *pods, _ func() []string) {
		p.claims = fakeClaims{}
		pod := newPod("web", "sleep", "infinity")
		pod.Volumes = []schema.Volume{{Name: "claim", Claim: &schema.Claim{Name: "c", SizeBytes: 1 << 30}}}
		p.up(pod)
		_, err := p.do(reconcile.Add, reconcile.KindVolume, "claim", pod)
		if err == nil || !strings.Contains(err.Error(), "claims cannot be used on this host") {
			t.Error(err)
		}
		s := p.status(pod.Ref)
		if s.Machine != schema.MachineRunning || len(s.Failures) != 1 || s.Failures[0].Reason != reasonAttach {
			t.Errorf("status %+v", s)
		}
	})
}
