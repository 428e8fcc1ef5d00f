package actual

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
	"github.com/firkin-dev/firkin-reconcile/volume"
)

// fakeClaims has a disk for every claim, which the first pod that asks keeps.
type fakeClaims map[schema.Ref]schema.Ref

func (f fakeClaims) Ensure(_ context.Context, claim schema.Ref, size int64, pod schema.Ref) (volume.Disk, error) {
	if by, ok := f[claim]; ok && by != pod {
		return volume.Disk{}, &volume.InUseError{Volume: claim, By: by.String()}
	}
	f[claim] = pod
	return volume.Disk{ID: "v" + claim.Name, Path: "/volumes/" + claim.Name, SizeBytes: size}, nil
}

func TestVolumes(t *testing.T) {
	shared := t.TempDir()
	inBubble(t, "", func(t *testing.T, p *pods) {
		p.claims = fakeClaims{}
		pod := newPod("web", "sleep", "infinity")
		pod.Volumes = []schema.Volume{
			{Name: "files", Files: &schema.Files{Files: []schema.File{
				{Path: "a", Data: schema.Hide("s3cret")}, {Path: "ip", From: &schema.ValueSource{Field: "status.podIP"}},
			}}},
			{Name: "image", Image: &schema.ImageVolume{Reference: "disk-i"}},
			{Name: "claim", Claim: &schema.Claim{Name: "c", SizeBytes: 1 << 30}},
			{Name: "host", HostPath: &schema.HostPath{Path: shared, Type: "Directory"}},
		}
		p.up(pod)
		for _, v := range pod.Volumes {
			p.must(reconcile.Add, reconcile.KindVolume, v.Name, pod)
		}
		s := p.status(pod.Ref)
		if len(s.Volumes) != len(pod.Volumes) {
			t.Fatalf("volumes = %+v", s.Volumes)
		}
		for _, v := range s.Volumes {
			want := pod.Volume(v.Name)
			if v.Digest != want.Digest() || cmp.Diff(want, v.Spec) != "" {
				t.Errorf("volume %s: %+v", v.Name, v)
			}
		}
		if got := (&s).Volumes[1].Disk; got != "i" {
			t.Errorf("the image volume is on disk %q", got)
		}
		for _, v := range pod.Volumes {
			p.must(reconcile.Remove, reconcile.KindVolume, v.Name, pod)
			p.must(reconcile.Remove, reconcile.KindVolume, v.Name, pod)
		}
		if diff := cmp.Diff([]string{"attach i", "detach " + volume.ID(schema.Ref{Namespace: "default", Name: "c"}), "attach vc", "detach i", "detach vc"}, p.driver.took()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestVolumesThatCannotBe(t *testing.T) {
	shared := t.TempDir()
	inBubble(t, "", func(t *testing.T, p *pods) {
		p.claims = fakeClaims{{Namespace: "default", Name: "c"}: {Namespace: "default", Name: "other"}}
		pod := newPod("web", "sleep", "infinity")
		p.up(pod)
		pod.Volumes = []schema.Volume{
			{Name: "claim", Claim: &schema.Claim{Name: "c"}},
			{Name: "passing", Claim: &schema.Claim{}},
			{Name: "late", HostPath: &schema.HostPath{Path: shared}},
			{Name: "guest", Image: &schema.ImageVolume{Reference: "guest:/"}},
			{Name: "lost", Files: &schema.Files{Files: []schema.File{{Path: "a"}}}},
		}
		for name, want := range map[string]struct {
			reason, text string
			err          error
		}{
			"claim":   {reason: "FailedAttachVolume", text: "in use by pod default/other"},
			"passing": {reason: "FailedMount", err: driver.ErrUnsupported}, // a machine without a directory
			"late":    {reason: "FailedMount", err: ErrHostPath},
			"guest":   {reason: "FailedMount", err: ErrConfig},
			"lost":    {reason: "FailedMount", err: ErrConfig},
			"none":    {reason: "FailedMount", text: "declares no such volume"},
		} {
			_, err := p.do(reconcile.Add, reconcile.KindVolume, name, pod)
			if err == nil || want.err != nil && !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.text) {
				t.Errorf("%s: %v", name, err)
			}
			for _, f := range p.status(pod.Ref).Failures {
				if f.Name == name && (f.Kind != "volume" || f.Reason != want.reason) {
					t.Errorf("%s: failure %+v", name, f)
				}
			}
		}
		if len(p.status(pod.Ref).Failures) != 6 {
			t.Errorf("failures %+v", p.status(pod.Ref).Failures)
		}
	})
}

func TestHostPathThatIsGoneFailsTheBoot(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	inBubble(t, "", func(t *testing.T, p *pods) {
		pod := newPod("web")
		pod.Volumes = []schema.Volume{{Name: "host", HostPath: &schema.HostPath{Path: none, Type: "Directory"}}}
		if _, err := p.do(reconcile.Add, reconcile.KindPod, pod.Name, pod); !errors.Is(err, ErrHostPath) {
			t.Errorf("boot: %v", err)
		}
		if f := p.status(pod.Ref).Failures; len(f) != 1 || f[0].Reason != "FailedMount" {
			t.Errorf("failures %+v", f)
		}
	})
}

func TestEphemeralDisk(t *testing.T) {
	dir := t.TempDir()
	o := New(nil, nil, Options{Format: func(context.Context, string, int64) error { return nil }})
	m := &machine{handle: named("m"), info: driver.Info{StorePath: filepath.Join(dir, "store.img")}}
	size := func(path string) int64 {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	v := &schema.Volume{Name: "v", Claim: &schema.Claim{SizeBytes: 1}}
	disk, err := o.claimDisk(t.Context(), m, nil, v)
	if err != nil || len(disk.ID) != 20 || filepath.Dir(disk.Path) != dir || size(disk.Path) != imageLeast {
		t.Fatalf("disk %+v, %v", disk, err)
	}
	if err := os.WriteFile(disk.Path, []byte(strings.Repeat("x", imageLeast)), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := o.claimDisk(t.Context(), m, nil, v)
	if b, read := os.ReadFile(again.Path); err != nil || read != nil || again != disk || b[0] != 'x' {
		t.Errorf("again: %+v, %v, %v", again, err, read)
	}
	v.Claim.SizeBytes = imageLeast + 1
	if _, err := o.claimDisk(t.Context(), m, nil, v); err != nil || size(disk.Path) != imageLeast+imageGranule {
		t.Errorf("of another size: %d bytes, %v", size(disk.Path), err)
	}
}
