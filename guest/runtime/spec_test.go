package runtime

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
		in     specInput
	}{
		{"minimal.json", specInput{
			container: &agentpb.ContainerSpec{Argv: []string{"/bin/true"}},
			user:      user{home: "/"}, hostname: "pod", rootfs: "/store/c/merged", cgroup: "/containers/c",
		}},
		{"full.json", specInput{
			container: &agentpb.ContainerSpec{
				Argv: []string{"sh", "-c", "exit 1"}, Env: []string{"PATH=/bin", "A=1", "A=2", "HOME=/h"}, Cwd: "/srv",
				Resources: &agentpb.Resources{
					CpuRequestMilli: 250, CpuLimitMilli: 500, MemoryRequestBytes: 1 << 20, MemoryLimitBytes: 64 << 20,
				},
			},
			user: user{uid: 1000, gid: 100, groups: []uint32{29}, home: "/home/app"}, hostname: "pod", rootfs: "/store/c/merged",
			cgroup: "/containers/c",
			binds:  []bindMount{{source: "/v/data", target: "/data"}, {source: "/v/conf", target: "/conf", readOnly: true}},
		}},
		{"privileged.json", specInput{
			container: &agentpb.ContainerSpec{Argv: []string{"/bin/true"}, Tty: true, Security: &agentpb.SecurityContext{Privileged: true}},
			user:      user{home: "/root"}, hostname: "pod", rootfs: "/store/c/merged", cgroup: "/privileged/c",
			pids:    pidNamespace{machine: true},
			devices: []specs.LinuxDevice{{Path: "/dev/sda", Type: "b", Major: 8}},
		}},
		{"restricted.json", specInput{
			container: &agentpb.ContainerSpec{Argv: []string{"/bin/true"}, Security: &agentpb.SecurityContext{
				ReadOnlyRoot: true, NoNewPrivileges: true, DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_BIND_SERVICE"},
			}},
			user: user{uid: 7, gid: 8, groups: []uint32{8, 9}, home: "/"}, hostname: "pod", rootfs: "/store/c/merged", cgroup: "/containers/c",
			pids: pidNamespace{init: 42},
		}},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			s, err := resolveSecurity(tt.in.container.GetSecurity())
			if err != nil {
				t.Fatal(err)
			}
			tt.in.security = s
			golden(t, tt.golden, buildSpec(tt.in))
		})
	}
}

func TestBuildExec(t *testing.T) {
	container := buildSpec(specInput{
		container: &agentpb.ContainerSpec{Argv: []string{"/bin/true"}, Env: []string{"A=1"}},
		user:      user{uid: 7, home: "/"}, hostname: "pod",
	}).Process
	before := len(container.Env)
	p := buildExec(container, &agentpb.ExecRequest_Start{
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
	if p := buildExec(&withTerminal, &agentpb.ExecRequest_Start{Argv: []string{"top"}}); p.Terminal {
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
			r := resources(tt.in)
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

func value(p *int64) int64 {
	if p == nil {
		return 0
	}
	return *p
}

func TestSortBinds(t *testing.T) {
	binds := []bindMount{{target: "/a/b/c"}, {target: "/etc/hosts"}, {target: "/a"}, {target: "/etc/hosts", source: "mine"}}
	sortBinds(binds)
	var got []string
	for _, b := range binds {
		got = append(got, b.target+b.source)
	}
	if d := cmp.Diff([]string{"/a", "/etc/hosts", "/etc/hostsmine", "/a/b/c"}, got); d != "" {
		t.Error(d)
	}
}

func TestOverlayOptions(t *testing.T) {
	got := overlayOptions(`/a:b,c\d`, "/u:1,2", "/w")
	want := `lowerdir=/a\:b\,c\\d,upperdir=/u:1\,2,workdir=/w,volatile`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPathSafe(t *testing.T) {
	for name, want := range map[string]bool{
		"web": true, "web-0.1_x": true, "": false, ".": false, "..": false, "-a": false, "a/b": false, "a\x00": false, "é": false,
	} {
		if got := pathSafe(name); got != want {
			t.Errorf("pathSafe(%q) = %v", name, got)
		}
	}
}
