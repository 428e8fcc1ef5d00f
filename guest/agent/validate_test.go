package agent

import (
	"errors"
	"path"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func TestEmptyDirFile_PathRule(t *testing.T) {
	for p, ok := range map[string]bool{
		"a": true, "a/b.c": true, "..a": true, "a/.b": true, " ": true, "...": true, "ü/x": true,
		"": false, "/a": false, "a//b": false, "a/": false, ".": false, "..": false, "./a": false,
		"a/./b": false, "a/../b": false, "a/..": false, "a\x00b": false, "\xff": false, strings.Repeat("a/", maxPath) + "a": false,
	} {
		if err := CheckPath(p); (err == nil) != ok || err != nil && (!errors.Is(err, ErrPath) || !errors.Is(err, ErrInvalid)) {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func FuzzCheckPath(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "/", "a//b", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if CheckPath(p) != nil {
			return
		}
		if joined := path.Join("/vol", p); joined != "/vol/"+p || strings.ContainsRune(p, 0) {
			t.Fatalf("%q leads to %q", p, joined)
		}
	})
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "web-1": true, "A.b_c": true, "0": true,
		"": false, ".": false, "..": false, "-a": false, "a/b": false, "a b": false, "ä": false, strings.Repeat("a", maxName+1): false,
	} {
		if err := checkName("name", name, maxName); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAddContainer_Validation(t *testing.T) {
	p := newPod(t)
	for what, spoil := range map[string]func(*agentpb.ContainerSpec){
		"name":          func(c *agentpb.ContainerSpec) { c.Name = "../x" },
		"digest":        func(c *agentpb.ContainerSpec) { c.Digest = "" },
		"argv":          func(c *agentpb.ContainerSpec) { c.Argv = nil },
		"argv NUL":      func(c *agentpb.ContainerSpec) { c.Argv = []string{"a", "b\x00"} },
		"argv size":     func(c *agentpb.ContainerSpec) { c.Argv = []string{strings.Repeat("a", maxStringBytes+1)} },
		"env":           func(c *agentpb.ContainerSpec) { c.Env = []string{"=x"} },
		"cwd":           func(c *agentpb.ContainerSpec) { c.Cwd = "rel" },
		"no rootfs":     func(c *agentpb.ContainerSpec) { c.RootfsDisk = "" },
		"two rootfs":    func(c *agentpb.ContainerSpec) { c.RootfsPath = "/x" },
		"rootfs disk":   func(c *agentpb.ContainerSpec) { c.RootfsDisk = "a/b" },
		"resources":     func(c *agentpb.ContainerSpec) { c.Resources = &agentpb.Resources{MemoryLimitBytes: -1} },
		"mount root":    func(c *agentpb.ContainerSpec) { c.Mounts[0].Path = "/x/.." },
		"mount twice":   func(c *agentpb.ContainerSpec) { c.Mounts = append(c.Mounts, c.Mounts[0]) },
		"mount sub":     func(c *agentpb.ContainerSpec) { c.Mounts[0].SubPath = "../.." },
		"mount dir":     func(c *agentpb.ContainerSpec) { c.Mounts[0].Volume = "" },
		"manifest size": func(c *agentpb.ContainerSpec) { c.Manifest = make([]byte, maxManifest+1) },
	} {
		t.Run(what, func(t *testing.T) {
			c := spec("c", "d")
			spoil(c)
			_, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: c})
			wantCode(t, err, codes.InvalidArgument)
		})
	}
	if p.rt.count("Prepare") != 0 {
		t.Error("an invalid container was prepared")
	}
	_, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{})
	wantCode(t, err, codes.InvalidArgument)
	for _, g := range []time.Duration{-1, 2 * time.Hour} {
		_, err := p.RemoveContainer(t.Context(), &agentpb.RemoveContainerRequest{Name: "c", Grace: durationpb.New(g)})
		wantCode(t, err, codes.InvalidArgument)
	}
}
