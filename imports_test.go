package firkin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/firkin-dev/firkin-reconcile"

// allowed is the architecture: which of our packages each one imports. A package or an
// edge that is not listed fails the test, and so does a listed one that is gone.
// docs/decisions says why where it differs from the first sketch.
var allowed = map[string][]string{
	"actual":                                 {"driver", "driver/ext4", "guest/agentpb", "image", "reconcile", "schema", "volume"},
	"cmd/firkin-reconcile":                   {"actual", "cmd/firkin-reconcile/internal/crilog", "cmd/firkin-reconcile/internal/kube", "cmd/firkin-reconcile/internal/progress", "cmd/firkin-reconcile/internal/render", "cmd/firkin-reconcile/internal/service", "desired", "driver", "driver/qemu", "driver/shim", "driver/sim", "driver/vz", "guest/agentpb", "guest/bundle", "image", "internal/memory", "journal", "reconcile", "schema", "state", "volume"},
	"cmd/firkin-reconcile/internal/crilog":   {},
	"cmd/firkin-reconcile/internal/kube":     {"reconcile", "schema"},
	"cmd/firkin-reconcile/internal/progress": {"cmd/firkin-reconcile/internal/render", "reconcile", "schema"},
	"cmd/firkin-reconcile/internal/render":   {"cmd/firkin-reconcile/internal/kube", "journal", "reconcile", "schema"},
	"cmd/firkin-reconcile/internal/service":  {},
	"cmd/vminitd":                            {"guest/agent", "guest/agentpb", "guest/link", "guest/runtime", "guest/runtime/pid1", "guest/runtime/reap", "guest/sandbox", "guest/sandboxpb", "guest/vsock"},
	"desired":                                {"schema"},
	"driver":                                 {},
	"driver/drivertest":                      {"driver", "guest/agentpb"},
	"driver/ext4":                            {},
	"driver/qemu":                            {"driver", "driver/template", "driver/unixsock", "network"},
	"driver/shim":                            {"driver", "driver/ext4", "driver/shim/shimpb", "driver/unixsock", "guest/agentpb", "guest/link", "guest/remote", "internal/filelock", "network", "network/registry", "network/stack"},
	"driver/shim/shimpb":                     {},
	"driver/sim":                             {"driver", "guest/agent", "guest/agentpb", "guest/link"},
	"driver/template":                        {"driver/unixsock", "internal/filelock"},
	"driver/unixsock":                        {},
	"driver/vz":                              {"driver", "driver/template", "network"},
	"examples/images":                        {"image/makeimage"},
	"examples/images/tiny":                   {},
	"guest/agent":                            {"guest/agentpb"},
	"guest/agentpb":                          {},
	"guest/bundle":                           {},
	"guest/bundle/mkbundle":                  {"guest/bundle"},
	"guest/link":                             {},
	"guest/ocispec":                          {"guest/agent", "guest/agentpb"},
	"guest/remote":                           {"guest/agent", "guest/agentpb", "guest/link", "guest/ocispec", "guest/sandboxpb"},
	"guest/remote/remotetest":                {"guest/agent", "guest/link", "guest/sandbox", "guest/sandboxpb"},
	"guest/runtime":                          {"guest/agent", "guest/agentpb", "guest/ocispec", "guest/runtime/pid1", "guest/runtime/reap"},
	"guest/runtime/pid1":                     {},
	"guest/runtime/reap":                     {},
	"guest/sandbox":                          {"guest/agent", "guest/sandboxpb", "guest/vsock"},
	"guest/sandboxpb":                        {},
	"guest/vsock":                            {},
	"image":                                  {"image/internal/ext4", "image/internal/flatten", "image/internal/source", "internal/filelock"},
	"image/imagetest":                        {"image/makeimage"},
	"image/internal/ext4":                    {},
	"image/internal/flatten":                 {},
	"image/internal/source":                  {},
	"image/makeimage":                        {},
	"internal/darwincheck":                   {},
	"internal/filelock":                      {},
	"internal/memory":                        {},
	"internal/sbomcheck":                     {"guest/bundle"},
	"journal":                                {},
	"network":                                {},
	"network/frame":                          {"network"},
	"network/registry":                       {"internal/filelock", "network"},
	"network/stack":                          {"driver", "driver/unixsock", "network", "network/frame"},
	"reconcile":                              {"schema"},
	"schema":                                 {},
	"schema/internal/gen":                    {},
	"state":                                  {},
	"test/crash":                             {},
	"test/e2e":                               {},
	"test/faults":                            {},
	"test/faults/ledger":                     {},
	"test/scale":                             {},
	"test/security":                          {},
	"test/security/intruder":                 {},
	"test/world":                             {},
	"volume":                                 {"driver/ext4", "internal/filelock", "schema"},
}

// TestImports holds the import table against what the go command says, for each
// platform we build for.
func TestImports(t *testing.T) {
	got := make(map[string]map[string]bool)
	for _, goos := range []string{"linux", "darwin"} {
		for pkg, imports := range list(t, goos) {
			if got[pkg] == nil {
				got[pkg] = make(map[string]bool)
			}
			for _, i := range imports {
				got[pkg][i] = true
			}
		}
	}
	for pkg, imports := range got {
		want, listed := allowed[pkg]
		if !listed {
			t.Errorf("package %s is not in the table; it imports %q", pkg, slices.Sorted(maps.Keys(imports)))
			continue
		}
		for i := range imports {
			if !slices.Contains(want, i) {
				t.Errorf("%s imports %s: not allowed by the table", pkg, i)
			}
		}
		for _, i := range want {
			if !imports[i] {
				t.Errorf("%s no longer imports %s: take the edge out of the table", pkg, i)
			}
		}
	}
	for pkg := range allowed {
		if got[pkg] == nil {
			t.Errorf("package %s is in the table and is gone", pkg)
		}
	}
}

// contractPackages are those of others that the program has on Linux for guests that are not ours
// alone: the types of the spec that the sandbox contract carries.
var contractPackages = []string{"github.com/opencontainers/runtime-spec/specs-go"}

// guestModules belong to the inside of a machine, or to a Mac.
var guestModules = []string{
	"github.com/Code-Hex/vz", "github.com/containerd/cgroups/v3/cgroup2", "github.com/mdlayher/vsock",
	"github.com/moby/profiles", "github.com/vishvananda/netlink", "github.com/vishvananda/netns",
}

// TestLinuxProgram: the macOS driver and the guests that are not ours bring nothing of others into
// the Linux program, the types above excepted.
func TestLinuxProgram(t *testing.T) {
	const program = module + "/cmd/firkin-reconcile"
	imports := dependencies(t, program)
	with := others(imports, program)
	without := others(imports, program, module+"/guest/remote", module+"/driver/vz")
	if len(without) == 0 || imports[module+"/guest/remote"] == nil || imports[module+"/driver/vz"] == nil {
		t.Fatalf("the program imports %d packages of others, and neither guest/remote nor driver/vz: the test looks at nothing", len(without))
	}
	added := slices.DeleteFunc(slices.Clone(with), func(p string) bool { return slices.Contains(without, p) })
	if !slices.Equal(added, contractPackages) {
		t.Errorf("guest/remote and driver/vz bring in %q, want %q alone", added, contractPackages)
	}
	for _, p := range with {
		for _, m := range guestModules {
			if p == m || strings.HasPrefix(p, m+"/") {
				t.Errorf("the program has %s, which belongs in a guest or on a Mac", p)
			}
		}
	}
}

// dependencies returns what each package that goes into a program for Linux imports, but for the
// standard library.
func dependencies(t *testing.T, program string) map[string][]string {
	t.Helper()
	packages := make(map[string][]string)
	for _, p := range goList(t, "linux", "-deps", program) {
		if !p.Standard {
			packages[p.ImportPath] = append([]string{}, p.Imports...)
		}
	}
	return packages
}

// others are the packages of others, sorted, that a program would have without some of ours.
func others(imports map[string][]string, program string, without ...string) []string {
	seen := make(map[string]bool)
	for next := []string{program}; len(next) > 0; {
		p := next[len(next)-1]
		next = next[:len(next)-1]
		if imports[p] == nil || seen[p] || slices.Contains(without, p) {
			continue
		}
		seen[p] = true
		next = append(next, imports[p]...)
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(seen)), func(p string) bool { return strings.HasPrefix(p, module+"/") })
}

// list returns our packages and which of ours they import, tests aside.
func list(t *testing.T, goos string) map[string][]string {
	t.Helper()
	packages := make(map[string][]string)
	for _, p := range goList(t, goos, "./...") {
		name, ours := strings.CutPrefix(p.ImportPath, module+"/")
		if !ours || len(p.GoFiles) == 0 {
			continue
		}
		packages[name] = []string{}
		for _, i := range p.Imports {
			if i, ours := strings.CutPrefix(i, module+"/"); ours {
				packages[name] = append(packages[name], i)
			}
		}
	}
	return packages
}

// listed is what the go command says of a package.
type listed struct {
	ImportPath       string
	Imports, GoFiles []string
	Standard         bool
}

func goList(t *testing.T, goos string, args ...string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-json=ImportPath,Imports,GoFiles,Standard"}, args...)...)
	cmd.Env = append(cmd.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
