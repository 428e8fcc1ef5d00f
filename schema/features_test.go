package schema_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestPorts(t *testing.T) {
	const ports = "ports: [{name: a, containerPort: 80, hostPort: 8080, hostIP: 127.0.0.1}, {containerPort: 53, hostPort: 53, protocol: UDP}, {containerPort: 9}]"
	const init = "initContainers: [{name: i, image: 'i:1', ports: [{containerPort: 53, hostPort: 53, protocol: UDP}]}]"
	for name, tt := range map[string]struct {
		container, spec string
		want            []schema.HostPort
	}{
		"none":      {"ports: [{containerPort: 80}]", "", nil},
		"hostPorts": {ports, "", []schema.HostPort{{Protocol: "TCP", HostIP: "127.0.0.1", HostPort: 8080, ContainerPort: 80}, {Protocol: "UDP", HostPort: 53, ContainerPort: 53}}},
		"those of an init container come first, and once": {ports, init, []schema.HostPort{
			{Protocol: "UDP", HostPort: 53, ContainerPort: 53}, {Protocol: "TCP", HostIP: "127.0.0.1", HostPort: 8080, ContainerPort: 80},
		}},
		"in the host's network every port": {"ports: [{containerPort: 80}, {containerPort: 443, hostPort: 443}]", "hostNetwork: true", []schema.HostPort{
			{Protocol: "TCP", HostPort: 80, ContainerPort: 80}, {Protocol: "TCP", HostPort: 443, ContainerPort: 443},
		}},
	} {
		if diff := cmp.Diff(tt.want, valid(t, manifest("", tt.container, tt.spec)).Network.Ports); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

func TestSidecars(t *testing.T) {
	pod := valid(t, manifest("", "", `initContainers: [{name: s, image: 's:1', restartPolicy: Always, readinessProbe: {exec: {command: [a]}}}, {name: i, image: 'i:1', restartPolicy: OnFailure}]`))
	if s := pod.InitContainers[0]; !s.Sidecar || s.Readiness == nil {
		t.Errorf("no sidecar: %+v", s)
	}
	if pod.InitContainers[1].Sidecar {
		t.Error("an init container is a sidecar")
	}
}

// TestContainerRestartPolicy: a container's may only say what the pod's says.
func TestContainerRestartPolicy(t *testing.T) {
	for text, ok := range map[string]bool{
		manifest("", "restartPolicy: Always", ""):                                                                 true,
		manifest("", "restartPolicy: Never", "restartPolicy: Never"):                                              true,
		manifest("", "restartPolicy: Never", ""):                                                                  false,
		manifest("", "", "initContainers: [{name: i, image: 'i:1', restartPolicy: Never}]"):                       false,
		manifest("", "", "restartPolicy: Never; initContainers: [{name: i, image: 'i:1', restartPolicy: Never}]"): true,
	} {
		out := schema.Parse("f", []byte(text), schema.ParseOptions{})
		if got := len(out.Pods) == 1; got != ok {
			t.Errorf("valid: %t\n%s%s", got, text, report(out))
		}
	}
}

// TestVolumeDevices: what cannot be given holds the container back, and says why.
func TestVolumeDevices(t *testing.T) {
	for name, tt := range map[string]struct {
		container string
		want      []string
	}{
		"a block device": {"volumeDevices: [{name: disk, devicePath: /dev/xvda}]", []string{"volume disk as the block device /dev/xvda"}},
		"a device":       {"resources: {limits: {nvidia.com/gpu: 2}}", []string{"nvidia.com/gpu"}},
		"huge pages":     {"resources: {limits: {hugepages-2Mi: 4Mi}}", []string{"hugepages-2Mi"}},
		"a named port":   {"livenessProbe: {httpGet: {port: web}}; lifecycle: {preStop: {tcpSocket: {port: web}}}", []string{"the port that its livenessProbe names", "the port that its preStop hook names"}},
		"none of them":   {"resources: {limits: {nvidia.com/gpu: 0}}", nil},
	} {
		pod := *valid(t, manifest("", tt.container, "volumes: [{name: disk, persistentVolumeClaim: {claimName: disk}}]"))
		if diff := cmp.Diff(tt.want, pod.Containers[0].Missing); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
		if diff := cmp.Diff(tt.want, pod.Containers[0].Unavailable); diff != "" {
			t.Errorf("%s: kept with the pod (-want +got)\n%s", name, diff)
		}
	}
}

// TestProbeRules: defaults are Kubernetes', names are looked up.
func TestProbeRules(t *testing.T) {
	plain := schema.Probe{TimeoutSeconds: 1, PeriodSeconds: 10, SuccessThreshold: 1, FailureThreshold: 3}
	with := func(h schema.Handler) *schema.Probe {
		p := plain
		p.Handler = h
		return &p
	}
	for text, want := range map[string]*schema.Probe{
		"{exec: {command: [a]}}":                               with(schema.Handler{Exec: []string{"a"}}),
		"{httpGet: {port: http}}":                              with(schema.Handler{HTTP: &schema.HTTPGet{Port: 80, Path: "/", Scheme: "HTTP"}}),
		"{httpGet: {port: 81, path: a, protocol: HTTP1}}":      with(schema.Handler{HTTP: &schema.HTTPGet{Port: 81, Path: "/a", Scheme: "HTTP"}}),
		"{tcpSocket: {port: http, host: h}}":                   with(schema.Handler{TCP: &schema.TCPDial{Host: "h", Port: 80}}),
		"{grpc: {port: 1, mode: Plaintext}, periodSeconds: 0}": with(schema.Handler{GRPC: &schema.GRPCCheck{Port: 1}}),
	} {
		pod := valid(t, manifest("", "ports: [{name: http, containerPort: 80}]; livenessProbe: "+text, ""))
		if diff := cmp.Diff(want, pod.Containers[0].Liveness); diff != "" {
			t.Errorf("%s (-want +got)\n%s", text, diff)
		}
	}
}

// TestGeneratedNames: a generateName gives the same name at each reading, another one at
// another place; a name of its own goes first.
func TestGeneratedNames(t *testing.T) {
	named := strings.Replace(manifest("", "", ""), "  name: web\n", "  generateName: web-\n", 1)
	parse := func(file, text string) []schema.Ref {
		out := schema.Parse(file, []byte(text), schema.ParseOptions{})
		if len(out.Pods) != len(out.Refs) {
			t.Fatalf("not valid:\n%s", report(out))
		}
		for _, p := range out.Problems {
			named := func(r schema.Ref) bool { return strings.Contains(p.Message, r.Name) }
			if p.Path == "metadata.generateName" && !slices.ContainsFunc(out.Refs, named) {
				t.Errorf("the warning does not name the pod: %s", p.Message)
			}
		}
		return out.Refs
	}
	once := parse("/a/web.yaml", named)[0]
	if !strings.HasPrefix(once.Name, "web-") || len(once.Name) != len("web-")+5 {
		t.Errorf("the name is %q", once.Name)
	}
	if again := parse("/b/web.yaml", "# a comment\n"+named)[0]; again != once {
		t.Errorf("another name the second time: %s, %s", once, again)
	}
	if other := parse("/a/other.yaml", named)[0]; other == once {
		t.Errorf("pods of two files are both %s", once)
	}
	two := parse("/a/web.yaml", named+"---\n"+named)
	if two[0] != once || two[1] == once {
		t.Errorf("pods of one file are %s", two)
	}
	if own := valid(t, strings.Replace(named, "  generateName: web-\n", "  name: own\n  generateName: web-\n", 1)); own.Name != "own" {
		t.Errorf("a pod with a name of its own is %s", own.Name)
	}
	again(t, schema.Parse("f", []byte(named), schema.ParseOptions{}).Pods[0])
}

// TestGitRepo: an init container that goes before all others clones into an emptyDir.
func TestGitRepo(t *testing.T) {
	pod := valid(t, manifest("", "volumeMounts: [{name: src, mountPath: /src}]",
		"initContainers: [{name: i, image: 'i:1'}]; volumes: [{name: src, gitRepo: {repository: 'https://example.com/web.git', revision: v1}}]"))
	if pod.EmptyDir("src") == nil || len(pod.InitContainers) != 2 || pod.InitContainers[1].Name != "i" {
		t.Fatalf("emptyDirs %+v, init containers %+v", pod.EmptyDirs, pod.InitContainers)
	}
	c := pod.InitContainers[0]
	if want := []string{"https://example.com/web.git", "web", "v1"}; c.Name != "git-src" || !slices.Equal(c.Command[len(c.Command)-3:], want) {
		t.Errorf("container %s runs %q", c.Name, c.Command)
	}
	pod.Source = ""
	again(t, pod)
	taken := manifest("", "", "initContainers: [{name: git-src, image: 'i:1'}]; volumes: [{name: src, gitRepo: {repository: a}}]")
	if out := schema.Parse("f", []byte(taken), schema.ParseOptions{}); len(out.Pods) != 0 {
		t.Error("two containers have one name")
	}
}

// TestSecurityMerge: what a container's context says goes before the pod's.
func TestSecurityMerge(t *testing.T) {
	id := func(n int64) *int64 { return &n }
	const spec = "securityContext: {runAsUser: 1, runAsGroup: 2, runAsNonRoot: true, supplementalGroups: [3], fsGroup: 4, seccompProfile: {type: Unconfined}}"
	for text, want := range map[string]schema.Security{
		"": {User: id(1), Group: id(2), NonRoot: true, ExtraGroups: []int64{3, 4}, Seccomp: "Unconfined"},
		"securityContext: {runAsUser: 5, runAsNonRoot: false, seccompProfile: {type: RuntimeDefault}}": {User: id(5), Group: id(2), ExtraGroups: []int64{3, 4}},
		"securityContext: {runAsGroup: 0, seccompProfile: {type: Localhost, localhostProfile: a/b.json}, capabilities: {add: [cap_net_raw], drop: [all]}}": {
			User: id(1), Group: id(0), NonRoot: true, ExtraGroups: []int64{3, 4}, Seccomp: "a/b.json", Add: []string{"NET_RAW"}, Drop: []string{"ALL"},
		},
	} {
		if diff := cmp.Diff(want, valid(t, manifest("", text, spec)).Containers[0].Security); diff != "" {
			t.Errorf("%s (-want +got)\n%s", text, diff)
		}
	}
}
