package schema_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

const digest = "@sha256:9ae97d36d26566ff84e8893c64a6dc4fe8ca6d1144bf5b87b2b85a32def253c7"

func TestByTag(t *testing.T) {
	for image, want := range map[string]bool{
		"busybox": true, "busybox:1.36": true, "registry.example:5000/a/b": true, "registry.example/a/b:2": true,
		"busybox" + digest: false, "registry.example:5000/a/b:2" + digest: false,
		"oci:images/busybox:1.36": false, "oci-archive:a.tar": false, "docker-archive:a.tar:b:1": false, "ext4:rootfs.img": false, "guest:/": false,
		"": false,
	} {
		if got := schema.ByTag(image); got != want {
			t.Errorf("%q: %t", image, got)
		}
	}
}

// mixed is a pod with images of every kind, and with what clones by one of ours.
const mixed = `apiVersion: v1
kind: Pod
metadata: {name: mixed}
spec:
  initContainers:
  - {name: i, image: "tools:1"}
  containers:
  - {name: pinned, image: "web` + digest + `"}
  - {name: tagged, image: "web:2"}
  - {name: again, image: "web:2"}
  - {name: local, image: "oci:web:2"}
  volumes:
  - {name: files, image: {reference: "data:3"}}
  - {name: git, gitRepo: {repository: "https://example.org/a.git"}}
`

// TestRequireDigest: each image by tag only is an error at its place, and only where that is asked for.
func TestRequireDigest(t *testing.T) {
	plain := schema.Parse("f", []byte(mixed), schema.ParseOptions{})
	if len(plain.Pods) != 1 {
		t.Fatalf("not valid: %+v", plain.Problems)
	}
	want := []string{"alpine/git:latest", "tools:1", "web:2", "data:3"}
	if diff := cmp.Diff(want, plain.Pods[0].ImagesByTag()); diff != "" {
		t.Errorf("images by tag:\n%s", diff)
	}
	strict := schema.Parse("f", []byte(mixed), schema.ParseOptions{RequireDigest: true})
	lines := make(map[int]string)
	for _, p := range strict.Problems {
		if p.Rule == schema.RuleImageByTag {
			lines[p.Line] = p.Path
		}
	}
	places := map[int]string{
		6: "spec.initContainers[0].image", 9: "spec.containers[1].image", 10: "spec.containers[2].image",
		13: "spec.volumes[0].image.reference", 14: "spec.volumes[1].gitRepo",
	}
	if diff := cmp.Diff(places, lines); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if len(strict.Pods) != 0 || len(strict.Refs) != 1 || strict.Unreadable {
		t.Errorf("a refused pod must still be known by name: %+v", strict.Refs)
	}
}

// TestRequireDigestInTemplates: what a Deployment's pods run is no way around it.
func TestRequireDigestInTemplates(t *testing.T) {
	const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "web:2"}
`
	out := schema.Parse("f", []byte(deployment), schema.ParseOptions{RequireDigest: true})
	if len(out.Pods) != 0 || len(out.Problems) == 0 || out.Problems[0].Line != 10 || out.Problems[0].Rule != schema.RuleImageByTag {
		t.Errorf("%d pods, %+v", len(out.Pods), out.Problems)
	}
}

// TestUntrusted: the mark has two values, misspelt ones are told, and it refuses the pod only where nothing holds it.
func TestUntrusted(t *testing.T) {
	const nothing = "VMs are emulated"
	for _, test := range []struct {
		annotation, why string
		valid, marked   bool
		complaint       string
	}{
		{annotation: `vm.firkin.dev/untrusted: "true"`, valid: true, marked: true},
		{annotation: `vm.firkin.dev/untrusted: "true"`, why: nothing, complaint: "the pod is marked untrusted and is not started here: " + nothing},
		{annotation: `vm.firkin.dev/untrusted: "false"`, why: nothing, valid: true},
		{annotation: `other: "true"`, why: nothing, valid: true},
		{annotation: `vm.firkin.dev/untrusted: "yes"`, why: nothing, complaint: `must be "true" or "false", is "yes"`},
		{annotation: `vm.firkin.dev/untrusted: ""`, complaint: `must be "true" or "false"`},
		{annotation: `vm.firkin.dev/untrustet: "true"`, complaint: `did you mean "vm.firkin.dev/untrusted"?`},
		{annotation: `firkin.dev/untrusted: "true"`, complaint: `did you mean "vm.firkin.dev/untrusted"?`},
	} {
		t.Run(test.annotation, func(t *testing.T) {
			manifest := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    " + test.annotation +
				"\nspec:\n  containers:\n  - {name: a, image: \"a:1\"}\n"
			out := schema.Parse("f", []byte(manifest), schema.ParseOptions{NoUntrusted: func() string { return test.why }})
			switch {
			case test.valid && (len(out.Pods) != 1 || out.Pods[0].VM.Untrusted != test.marked):
				t.Errorf("pods %+v, problems %+v", out.Pods, out.Problems)
			case !test.valid && (len(out.Pods) != 0 || len(out.Problems) != 1 || out.Problems[0].Line != 6 || !strings.Contains(out.Problems[0].Message, test.complaint)):
				t.Errorf("pods %+v, problems %+v", out.Pods, out.Problems)
			}
		})
	}
}

// TestMarkIsOfTheVM: to mark a pod that runs is a change that only a new VM can satisfy.
func TestMarkIsOfTheVM(t *testing.T) {
	var digests []string
	for _, value := range []string{"false", "true"} {
		out := schema.Parse("f", []byte(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": {"vm.firkin.dev/untrusted": "`+value+`"}},
			"spec": {"containers": [{"name": "a", "image": "a:1"}]}}`), schema.ParseOptions{})
		if len(out.Pods) != 1 {
			t.Fatalf("%+v", out.Problems)
		}
		digests = append(digests, out.Pods[0].VMDigest())
	}
	if digests[0] == digests[1] {
		t.Error("the mark does not change the VM")
	}
}
