package runtime

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/ocispec"
)

// withSeccomp is the spec of a container with that security context.
func withSeccomp(t *testing.T, c *agentpb.SecurityContext) (*specs.Spec, error) {
	t.Helper()
	spec, err := ocispec.Build(ocispec.Input{Container: &agentpb.ContainerSpec{Security: c}})
	if err != nil {
		t.Fatal(err)
	}
	return spec, addSeccomp(spec, c)
}

// allows tells whether a profile names a system call without conditions.
func allows(p *specs.LinuxSeccomp, call string) bool {
	return slices.ContainsFunc(p.Syscalls, func(s specs.LinuxSyscall) bool {
		return s.Action == specs.ActAllow && len(s.Args) == 0 && slices.Contains(s.Names, call)
	})
}

func TestDefaultSeccomp(t *testing.T) {
	for name, tt := range map[string]struct {
		c                         *agentpb.SecurityContext
		read, mount, settimeofday bool
	}{
		"defaults":         {nil, true, false, false},
		"an administrator": {&agentpb.SecurityContext{AddCapabilities: []string{"SYS_ADMIN"}}, true, true, false},
		"a clockmaker":     {&agentpb.SecurityContext{AddCapabilities: []string{"SYS_TIME"}}, true, false, true},
		"all":              {&agentpb.SecurityContext{AddCapabilities: []string{"ALL"}}, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := withSeccomp(t, tt.c)
			if err != nil {
				t.Fatal(err)
			}
			p := spec.Linux.Seccomp
			if p.DefaultAction != specs.ActErrno || slices.Contains(p.Architectures, specs.ArchX32) || len(p.Architectures) == 0 {
				t.Errorf("default action %s, architectures %v", p.DefaultAction, p.Architectures)
			}
			for call, want := range map[string]bool{"read": tt.read, "mount": tt.mount, "settimeofday": tt.settimeofday} {
				if allows(p, call) != want {
					t.Errorf("%s: allowed %v", call, !want)
				}
			}
		})
	}
}

func TestNoSeccomp(t *testing.T) {
	for _, c := range []*agentpb.SecurityContext{
		{Privileged: true}, {Seccomp: agentpb.SecurityContext_UNCONFINED},
		{Privileged: true, Seccomp: agentpb.SecurityContext_PROFILE, SeccompProfile: []byte(`{"defaultAction":"SCMP_ACT_ERRNO"}`)},
	} {
		spec, err := withSeccomp(t, c)
		if err != nil || spec.Linux.Seccomp != nil {
			t.Errorf("%v: %v, %v", c, spec.Linux.Seccomp, err)
		}
	}
}

func TestSeccompProfile(t *testing.T) {
	for profile, want := range map[string]error{
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"chmod","action":"SCMP_ACT_ERRNO"}]}`: nil,
		`{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64"}],"syscalls":[
			{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8","caps":["CAP_CHOWN"]}}]}`: nil,
		"": agent.ErrInvalid, "{}": agent.ErrInvalid, "[]": agent.ErrInvalid, "null": agent.ErrInvalid,
		`{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/x"}`:                                agent.ErrInvalid,
		`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["A"],"archMap":[{"architecture":"B"}]}`: agent.ErrInvalid,
	} {
		spec, err := withSeccomp(t, &agentpb.SecurityContext{Seccomp: agentpb.SecurityContext_PROFILE, SeccompProfile: []byte(profile)})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", profile, err)
		}
		if want == nil && (spec.Linux.Seccomp == nil || len(spec.Linux.Seccomp.Syscalls) != 1) {
			t.Errorf("%s: got %+v", profile, spec.Linux.Seccomp)
		}
	}
}

func TestFilterCache(t *testing.T) {
	f := filterCache{dir: t.TempDir()}
	build := func() (*specs.Spec, filterKey) {
		spec, err := withSeccomp(t, nil)
		if err != nil {
			t.Fatal(err)
		}
		key, err := f.use(spec)
		if err != nil {
			t.Fatal(err)
		}
		return spec, key
	}
	first, key := build()
	if first.Annotations != nil || len(first.Linux.Seccomp.Syscalls) == 0 {
		t.Fatal("a filter came from nowhere")
	}
	if err := f.keep(key, "none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no compiled filter: %v", err)
	}
	for id, data := range map[string][]byte{"empty": {}, "huge": make([]byte, maxFilter+1), "good": []byte("compiled")} {
		if err := errors.Join(os.Mkdir(filepath.Join(f.dir, id), 0o700), os.WriteFile(filepath.Join(f.dir, id, bpfFile), data, 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := f.keep(key, id); (err == nil) != (id == "good") && len(f.filters) == 0 {
			t.Errorf("%s: %v", id, err)
		}
	}
	second, again := build()
	if again != key || second.Annotations[bpfAnnotation] != base64.StdEncoding.EncodeToString([]byte("compiled")) {
		t.Errorf("annotations %v", second.Annotations)
	}
	if p := second.Linux.Seccomp; p == nil || p.DefaultAction != specs.ActErrno || len(p.Syscalls) != 0 {
		t.Errorf("profile beside it: %+v", p)
	}
	none, err := withSeccomp(t, &agentpb.SecurityContext{Seccomp: agentpb.SecurityContext_UNCONFINED})
	if err != nil {
		t.Fatal(err)
	}
	if key, err := f.use(none); err != nil || key != (filterKey{}) || none.Linux.Seccomp != nil || f.keep(key, "good") != nil || len(f.filters) != 1 {
		t.Errorf("no profile: %v, %v", key, err)
	}
}
