package schema_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// manifest returns a pod with the given lines below metadata.annotations, in its one
// container, and in its spec. Lines are separated by ";", items are in flow style.
func manifest(annotations, container, spec string) string {
	lines := func(indent, text string) string {
		var b strings.Builder
		for line := range strings.SplitSeq(text, ";") {
			if line = strings.TrimSpace(line); line != "" {
				b.WriteString(indent + line + "\n")
			}
		}
		return b.String()
	}
	return "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  annotations:\n    a: b\n" + lines("    ", annotations) +
		"spec:\n" + lines("  ", spec) + "  containers:\n  - name: web\n    image: web:1\n" + lines("    ", container)
}

func valid(t *testing.T, text string) *schema.Pod {
	t.Helper()
	out := schema.Parse("/m/web.yaml", []byte(text), schema.ParseOptions{Source: "/m", Commit: "abc"})
	if len(out.Pods) != 1 {
		t.Fatalf("not one valid pod:\n%s\n%s", report(out), text)
	}
	return out.Pods[0]
}

func TestDefaults(t *testing.T) {
	pod := valid(t, "# a comment\n---\n"+manifest("", "", ""))
	pod.Manifest = nil
	want := &schema.Pod{
		Ref:           schema.Ref{Namespace: "default", Name: "web"},
		Annotations:   map[string]string{"a": "b"},
		Hostname:      "web",
		RestartPolicy: schema.RestartAlways,
		GraceSeconds:  30,
		Containers:    []schema.Container{{Name: "web", Image: "web:1", ImagePullPolicy: schema.PullIfNotPresent}},
		VM:            schema.VM{CPUs: 1, MemoryBytes: 192 << 20, StoreBytes: 10 << 30},
		Source:        "/m",
		Origin:        schema.Origin{File: "/m/web.yaml", Line: 3, Commit: "abc"},
	}
	if diff := cmp.Diff(want, pod); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestPullPolicyDefault(t *testing.T) {
	for image, want := range map[string]schema.PullPolicy{
		"busybox":                  schema.PullAlways,
		"busybox:latest":           schema.PullAlways,
		"localhost:5000/busybox":   schema.PullAlways,
		"busybox:1.36":             schema.PullIfNotPresent,
		"localhost:5000/busybox:1": schema.PullIfNotPresent,
		"busybox@sha256:" + strings.Repeat("0", 64): schema.PullIfNotPresent,
		"oci:images/web": schema.PullIfNotPresent,
		"ext4:web.img":   schema.PullIfNotPresent,
	} {
		text := strings.Replace(manifest("", "", ""), "web:1", image, 1)
		if got := valid(t, text).Containers[0].ImagePullPolicy; got != want {
			t.Errorf("%s: %s, want %s", image, got, want)
		}
	}
}

func TestHostnameDefault(t *testing.T) {
	for name, want := range map[string]string{
		"web":                          "web",
		strings.Repeat("a", 70):        strings.Repeat("a", 63),
		strings.Repeat("a", 62) + ".b": strings.Repeat("a", 62),
	} {
		text := strings.Replace(manifest("", "", ""), "name: web", "name: "+name, 1)
		if got := valid(t, text).Hostname; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestVMSize(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		name, annotations, container, spec string
		want                               schema.VM
	}{
		{"nothing asked", "", "", "", schema.VM{CPUs: 1, MemoryBytes: 192 * mib}},
		{"limits and overhead, rounded up", "", "resources: {limits: {cpu: 1500m, memory: 300Mi}}", "",
			schema.VM{CPUs: 2, MemoryBytes: 416 * mib}},
		{"a request alone", "", "resources: {requests: {memory: 256Mi}}", "", schema.VM{CPUs: 1, MemoryBytes: 352 * mib}},
		{"init containers run by themselves", "", "resources: {limits: {cpu: 1, memory: 200Mi}}",
			"initContainers: [{name: i, image: 'i:1', resources: {limits: {cpu: 3, memory: 512Mi}}}]",
			schema.VM{CPUs: 3, MemoryBytes: 608 * mib}},
		{"memory emptyDirs", "", "resources: {limits: {memory: 128Mi}}",
			"volumes: [{name: m, emptyDir: {medium: Memory, sizeLimit: 64Mi}}, {name: d, emptyDir: {sizeLimit: 1Gi}}]",
			schema.VM{CPUs: 1, MemoryBytes: 288 * mib}},
		{"sidecars run beside all that come later", "", "resources: {limits: {cpu: 1, memory: 128Mi}}",
			"initContainers: [{name: s, image: 's:1', restartPolicy: Always, resources: {limits: {cpu: 1, memory: 64Mi}}}, {name: i, image: 'i:1', resources: {limits: {cpu: 2, memory: 64Mi}}}]",
			schema.VM{CPUs: 3, MemoryBytes: 288 * mib}},
		{"an init container before a sidecar", "", "resources: {limits: {memory: 64Mi}}",
			"initContainers: [{name: i, image: 'i:1', resources: {limits: {memory: 160Mi}}}, {name: s, image: 's:1', restartPolicy: Always, resources: {limits: {memory: 64Mi}}}]",
			schema.VM{CPUs: 1, MemoryBytes: 256 * mib}},
		{"the pod's own limits", "", "resources: {limits: {cpu: 1, memory: 128Mi}}", "resources: {limits: {cpu: 4, memory: 1Gi}}",
			schema.VM{CPUs: 4, MemoryBytes: 1120 * mib}},
		{"the pod's own request", "", "", "resources: {requests: {memory: 512Mi}}", schema.VM{CPUs: 1, MemoryBytes: 608 * mib}},
		{"annotations", `vm.firkin.dev/cpus: "4"; vm.firkin.dev/memory: 1Gi; vm.firkin.dev/store-size: 20Gi`, "", "",
			schema.VM{CPUs: 4, MemoryBytes: 1024 * mib, StoreBytes: 20 << 30}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want.StoreBytes == 0 {
				tt.want.StoreBytes = 10 << 30
			}
			if diff := cmp.Diff(tt.want, valid(t, manifest(tt.annotations, tt.container, tt.spec)).VM); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestDigests holds digests still: a new one replaces every container or VM that runs, so
// the golden file may gain lines and lose none.
func TestDigests(t *testing.T) {
	for _, file := range everyField() {
		var got strings.Builder
		line := func(words ...string) { got.WriteString(strings.Join(words, " ") + "\n") }
		pods := schema.Parse("/m/web.yaml", read(t, file), schema.ParseOptions{}).Pods
		for _, pod := range pods {
			line("vm", pod.VMDigest())
			for _, list := range [][]schema.Container{pod.InitContainers, pod.Containers} {
				for i := range list {
					line("container", list[i].Name, list[i].Digest())
				}
			}
			for i := range pod.EmptyDirs {
				line("emptyDir", pod.EmptyDirs[i].Name, pod.EmptyDirs[i].Digest())
			}
			for i := range pod.Volumes {
				line("volume", pod.Volumes[i].Name, pod.Volumes[i].Digest())
			}
		}
		golden(t, strings.TrimSuffix(file, ".yaml")+".digests", got.String())
	}
}

// TestDigestsTellChanges names what each kind of change touches.
func TestDigestsTellChanges(t *testing.T) {
	base := valid(t, manifest("", "args: [a]", "volumes: [{name: d}]"))
	tests := []struct {
		name, text              string
		vm, container, emptyDir bool
	}{
		{"pull policy", manifest("", "args: [a]; imagePullPolicy: Always", "volumes: [{name: d}]"), false, false, false},
		{"labels and grace", manifest("x: z", "args: [a]", "volumes: [{name: d}]; terminationGracePeriodSeconds: 1"), false, false, false},
		{"args", manifest("", "args: [b]", "volumes: [{name: d}]"), false, true, false},
		{"emptyDir", manifest("", "args: [a]", "volumes: [{name: d, emptyDir: {medium: Memory}}]"), false, false, true},
		{"hostname", manifest("", "args: [a]", "volumes: [{name: d}]; hostname: h"), true, false, false},
		{"memory", manifest("vm.firkin.dev/memory: 1Gi", "args: [a]", "volumes: [{name: d}]"), true, false, false},
	}
	for _, tt := range tests {
		pod := valid(t, tt.text)
		got := []bool{pod.VMDigest() != base.VMDigest(), pod.Containers[0].Digest() != base.Containers[0].Digest(), pod.EmptyDirs[0].Digest() != base.EmptyDirs[0].Digest()}
		if diff := cmp.Diff([]bool{tt.vm, tt.container, tt.emptyDir}, got); diff != "" {
			t.Errorf("%s: VM, container, emptyDir changed (-want +got)\n%s", tt.name, diff)
		}
	}
}

func TestScalarsAreThoseOfKubernetes(t *testing.T) {
	pod := valid(t, manifest("octal: '0755'", "args: ['yes', \"1\", 2001-01-01, 1:30, 0x, 1.2.3]", "terminationGracePeriodSeconds: 0x10"))
	if diff := cmp.Diff([]string{"yes", "1", "2001-01-01", "1:30", "0x", "1.2.3"}, pod.Containers[0].Args); diff != "" {
		t.Errorf("args (-want +got)\n%s", diff)
	}
	if pod.GraceSeconds != 16 {
		t.Errorf("grace 0x10 is %d", pod.GraceSeconds)
	}
}

func TestContainerAndEmptyDirByName(t *testing.T) {
	pod := valid(t, string(read(t, "testdata/every-field.yaml")))
	if pod.Container("setup") == nil || pod.Container("web") == nil || pod.Container("nobody") != nil {
		t.Error("Container does not find the containers there are")
	}
	if pod.EmptyDir("cache") == nil || pod.EmptyDir("nothing") != nil {
		t.Error("EmptyDir does not find the emptyDirs there are")
	}
}
