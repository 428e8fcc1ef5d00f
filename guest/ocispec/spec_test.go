package ocispec

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// updateVariable set to anything rewrites the golden files.
const updateVariable = "UPDATE_GOLDEN"

func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", name)
	if os.Getenv(updateVariable) != "" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s differs (%s=1 rewrites it) -want +got:\n%s", path, updateVariable, d)
	}
}

func TestBuildSpec(t *testing.T) {
	for _, tt := range []struct {
		golden string
		in     Input
	}{
		{"minimal.json", Input{
			Container: &agentpb.ContainerSpec{Argv: []string{"/bin/true"}},
			User:      User{Home: "/"}, Hostname: "pod", Root: "/store/c/merged", Cgroup: "/containers/c",
		}},
		{"full.json", Input{
			Container: &agentpb.ContainerSpec{
				Argv: []string{"sh", "-c", "exit 1"}, Env: []string{"PATH=/bin", "A=1", "A=2", "HOME=/h"}, Cwd: "/srv",
				Resources: &agentpb.Resources{
					CpuRequestMilli: 250, CpuLimitMilli: 500, MemoryRequestBytes: 1 << 20, MemoryLimitBytes: 64 << 20,
				},
			},
			User: User{UID: 1000, GID: 100, Groups: []uint32{29}, Home: "/home/app"}, Hostname: "pod", Root: "/store/c/merged",
			Cgroup: "/containers/c",
			Binds:  []Bind{{Source: "/v/data", Target: "/data"}, {Source: "/v/conf", Target: "/conf", ReadOnly: true}},
		}},
		{"privileged.json", Input{
			Container: &agentpb.ContainerSpec{Argv: []string{"/bin/true"}, Tty: true, Security: &agentpb.SecurityContext{Privileged: true}},
			User:      User{Home: "/root"}, Hostname: "pod", Root: "/store/c/merged", Cgroup: "/privileged/c",
			PIDs:    PIDNamespace{Machine: true},
			Devices: []specs.LinuxDevice{{Path: "/dev/sda", Type: "b", Major: 8}},
		}},
		{"restricted.json", Input{
			Container: &agentpb.ContainerSpec{Argv: []string{"/bin/true"}, Security: &agentpb.SecurityContext{
				ReadOnlyRoot: true, NoNewPrivileges: true, DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_BIND_SERVICE"},
			}},
			User: User{UID: 7, GID: 8, Groups: []uint32{8, 9}, Home: "/"}, Hostname: "pod", Root: "/store/c/merged", Cgroup: "/containers/c",
			PIDs: PIDNamespace{Init: 42},
		}},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			spec, err := Build(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, tt.golden, spec)
		})
	}
}

func TestBuildExec(t *testing.T) {
	spec, err := Build(Input{
		Container: &agentpb.ContainerSpec{Argv: []string{"/bin/true"}, Env: []string{"A=1"}},
		User:      User{UID: 7, Home: "/"}, Hostname: "pod",
	})
	if err != nil {
		t.Fatal(err)
	}
	container := spec.Process
	before := len(container.Env)
	p := Exec(container, &agentpb.ExecRequest_Start{
		Argv: []string{"top"}, Env: []string{"A=2", "B=3"}, Tty: true, Rows: 24, Columns: 80,
	})
	want := []string{"A=2", defaultPath, "HOSTNAME=pod", "HOME=/", "B=3", "TERM=xterm"}
	if d := cmp.Diff(want, p.Env); d != "" {
		t.Error(d)
	}
	if !p.Terminal || p.ConsoleSize.Height != 24 || p.ConsoleSize.Width != 80 || p.User.UID != 7 || p.Args[0] != "top" {
		t.Errorf("process %+v", p)
	}
	withTerminal := *container
	withTerminal.Terminal = true
	if p := Exec(&withTerminal, &agentpb.ExecRequest_Start{Argv: []string{"top"}}); p.Terminal {
		t.Error("an exec has the terminal of its container")
	}
	if len(container.Env) != before || container.Env[0] != "A=1" || container.Terminal {
		t.Errorf("the container's own process was changed: %+v", container)
	}
}

func TestResources(t *testing.T) {
	for _, tt := range []struct {
		name          string
		in            *agentpb.Resources
		shares        uint64
		quota, memory int64
	}{
		{"none", nil, 2, 0, 0},
		{"a request of one milli", &agentpb.Resources{CpuRequestMilli: 1}, 2, 0, 0},
		{"two CPUs", &agentpb.Resources{CpuRequestMilli: 2000, CpuLimitMilli: 2000}, 2048, 200_000, 0},
		{"less than the kernel takes", &agentpb.Resources{CpuLimitMilli: 1}, 2, 1000, 0},
		{"memory", &agentpb.Resources{MemoryLimitBytes: 1 << 30}, 2, 0, 1 << 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := resources(tt.in, 0)
			if *r.CPU.Shares != tt.shares {
				t.Errorf("shares %d, want %d", *r.CPU.Shares, tt.shares)
			}
			if got := value(r.CPU.Quota); got != tt.quota {
				t.Errorf("quota %d, want %d", got, tt.quota)
			}
			var memory, swap int64
			if r.Memory != nil {
				memory, swap = value(r.Memory.Limit), value(r.Memory.Swap)
			}
			if memory != tt.memory || swap != tt.memory {
				t.Errorf("memory %d, with swap %d, want %d", memory, swap, tt.memory)
			}
		})
	}
}

func TestProcessesAreLimited(t *testing.T) {
	for in, want := range map[int64]int64{0: maxPIDs, 618: 618, maxPIDs + 1: maxPIDs} {
		if got := value(resources(nil, in).Pids.Limit); got != want {
			t.Errorf("limit %d of %d, want %d", got, in, want)
		}
	}
}

func value(p *int64) int64 {
	if p == nil {
		return 0
	}
	return *p
}

func TestSortBinds(t *testing.T) {
	binds := []Bind{{Target: "/a/b/c"}, {Target: "/etc/hosts"}, {Target: "/a"}, {Target: "/etc/hosts", Source: "mine"}}
	var got []string
	for _, b := range sortBinds(binds) {
		got = append(got, b.Target+b.Source)
	}
	if d := cmp.Diff([]string{"/a", "/etc/hosts", "/etc/hostsmine", "/a/b/c"}, got); d != "" {
		t.Error(d)
	}
	if binds[0].Target != "/a/b/c" {
		t.Error("the caller's mounts were sorted, too")
	}
}

func TestOverlayOptions(t *testing.T) {
	got := OverlayOptions(`/a:b,c\d`, "/u:1,2", "/w")
	want := `lowerdir=/a\:b\,c\\d,upperdir=/u:1\,2,workdir=/w,volatile`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
