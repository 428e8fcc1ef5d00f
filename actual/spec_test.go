package actual

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestContainerSpecArgv(t *testing.T) {
	entry, cmd := []string{"entry", "$(A)"}, []string{"cmd"}
	tests := map[string]struct {
		command, args   []string
		entrypoint, cmd []string
		want            []string
	}{
		"image's own":           {nil, nil, entry, cmd, []string{"entry", "$(A)", "cmd"}},
		"entrypoint alone":      {nil, nil, entry, nil, []string{"entry", "$(A)"}},
		"cmd alone":             {nil, nil, nil, cmd, []string{"cmd"}},
		"command":               {[]string{"run"}, nil, entry, cmd, []string{"run"}},
		"args":                  {nil, []string{"x"}, entry, cmd, []string{"entry", "$(A)", "x"}},
		"args, no entrypoint":   {nil, []string{"x"}, nil, cmd, []string{"x"}},
		"command and args":      {[]string{"run"}, []string{"x"}, entry, cmd, []string{"run", "x"}},
		"expansion":             {[]string{"run-$(A)"}, []string{"$(B)", "$$(A)", "$(NONE)"}, nil, nil, []string{"run-1", "1-2", "$(A)", "$(NONE)"}},
		"expansion of the args": {nil, []string{"$(A)"}, entry, cmd, []string{"entry", "$(A)", "1"}},
		"nothing":               {nil, nil, nil, nil, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod := newPod("web", tt.command...)
			c := &pod.Containers[0]
			c.Args = tt.args
			c.Env = []schema.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)-2"}}
			spec, err := containerSpec(pod, c, &image.Image{Config: image.Config{Entrypoint: tt.entrypoint, Cmd: tt.cmd}}, facts{})
			if (tt.want == nil) != errors.Is(err, ErrNoCommand) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, spec.GetArgv()); diff != "" {
				t.Error(diff)
			}
		})
	}
	if diff := cmp.Diff([]string{"entry", "$(A)"}, entry); diff != "" {
		t.Error("the image's config was changed:", diff)
	}
}

func TestContainerSpec(t *testing.T) {
	pod := newPod("web", "run")
	pod.InitContainers = []schema.Container{{Name: "first", Image: "i", Command: []string{"true"}}}
	c := &pod.Containers[0]
	c.Env = []schema.EnvVar{{Name: "PATH", Value: "/mine"}, {Name: "X", Value: "a=b"}, {Name: "Y", Value: "$(X)c"}}
	c.Mounts = []schema.VolumeMount{{Volume: "data", Path: "/data", ReadOnly: true, SubPath: "sub"}}
	c.Resources = schema.ResourceLimits{CPURequestMilli: 1, CPULimitMilli: 2, MemoryRequestBytes: 3, MemoryLimitBytes: 4}
	img := &image.Image{Digest: "sha256:1", DiskID: "i1", TemplatePath: "/t", Config: image.Config{
		Env: []string{"PATH=/bin", "HOME=/root", "EMPTY"}, WorkingDir: "srv", User: "app:app",
	}}
	spec, err := containerSpec(pod, c, img, facts{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"EMPTY=", "HOME=/root", "PATH=/mine", "X=a=b", "Y=a=bc"}, spec.GetEnv()); diff != "" {
		t.Error(diff)
	}
	if spec.GetCwd() != "/srv" || spec.GetUser() != "app:app" || spec.GetInit() || spec.GetRootfsDisk() != "i1" || spec.GetRootfsPath() != "" ||
		spec.GetImageId() != "sha256:1" || spec.GetDigest() != c.Digest() || spec.GetImage() != c.Image {
		t.Errorf("spec = %v", spec)
	}
	want := &agentpb.Mount{Volume: "data", Path: "/data", ReadOnly: true, SubPath: "sub"}
	if len(spec.GetMounts()) != 1 || spec.GetMounts()[0].String() != want.String() {
		t.Errorf("mounts = %v", spec.GetMounts())
	}
	r := spec.GetResources()
	if r.GetCpuRequestMilli() != 1 || r.GetCpuLimitMilli() != 2 || r.GetMemoryRequestBytes() != 3 || r.GetMemoryLimitBytes() != 4 {
		t.Errorf("resources = %v", r)
	}
	var kept schema.Container
	if err := json.Unmarshal(spec.GetManifest(), &kept); err != nil || cmp.Diff(*c, kept) != "" {
		t.Errorf("manifest = %s, %v", spec.GetManifest(), err)
	}
	first, err := containerSpec(pod, &pod.InitContainers[0], &image.Image{GuestPath: "/"}, facts{})
	if err != nil || !first.GetInit() || first.GetRootfsPath() != "/" || first.GetCwd() != "/" || first.GetRootfsDisk() != "" {
		t.Errorf("init container = %v, %v", first, err)
	}
	for _, dir := range []struct{ manifest, config, want string }{
		{"/a", "/b", "/a"}, {"", "/b", "/b"}, {"a/../..", "", "/"}, {"", "", "/"},
	} {
		if got := workingDir(dir.manifest, dir.config); got != dir.want {
			t.Errorf("workingDir(%q, %q) = %q, want %q", dir.manifest, dir.config, got, dir.want)
		}
	}
}
