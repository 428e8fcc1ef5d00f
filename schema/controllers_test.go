package schema_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// deployment is one whose template has as many variables as are asked for.
func deployment(name string, replicas, variables int) string {
	env := strings.Repeat("       - {name: A, value: \"0123456789012345678901234567890123456789\"}\n", variables)
	return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s}\nspec:\n  replicas: %d\n  selector: {matchLabels: {a: b}}\n"+
		"  template:\n    metadata: {labels: {a: b}}\n    spec:\n     containers:\n     - name: c\n       image: web:1\n       env:\n%s", name, replicas, env)
}

// TestWorkloadsAreBounded: a small file cannot stand for more than a machine can hold.
func TestWorkloadsAreBounded(t *testing.T) {
	many := make([]string, 100)
	for i := range many {
		many[i] = deployment(fmt.Sprint("d", i), 1000, 0)
	}
	for name, tt := range map[string]struct {
		text, want string
	}{
		"many pods":     {strings.Join(many, "\n---\n"), "the file has more than 10000 pods"},
		"large pods":    {deployment("d", 1000, 3000), "the manifests of all pods of the file take more than 32 MiB"},
		"many replicas": {deployment("d", 1001, 0), "must be from 0 to 1000, is 1001"},
	} {
		began := time.Now()
		out := schema.Parse("f", []byte(tt.text), schema.ParseOptions{})
		if !strings.Contains(report(out), tt.want) || !out.Unreadable {
			t.Errorf("%s: %s", name, report(out))
		}
		t.Logf("%s: %d pods in %v", name, len(out.Pods), time.Since(began))
	}
}

// TestWorkloadNames: the longest name of a pod must be one.
func TestWorkloadNames(t *testing.T) {
	name := strings.Repeat("a", 252)
	if out := schema.Parse("f", []byte(deployment(name, 1, 0)), schema.ParseOptions{}); len(out.Pods) > 0 || !strings.Contains(report(out), "metadata.name") {
		t.Errorf("a name too long: %s", report(out))
	}
	job := "apiVersion: batch/v1\nkind: Job\nmetadata: {name: " + name[:64] + "}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}"
	if out := schema.Parse("f", []byte(job), schema.ParseOptions{}); len(out.Problems) != 1 || out.Problems[0].Path != "metadata.name" {
		t.Errorf("a Job's name too long for a label: %s", report(out))
	}
	out := schema.Parse("f", []byte(deployment(name[:251], 10, 0)), schema.ParseOptions{})
	if len(out.Pods) != 10 {
		t.Errorf("%s", report(out))
	}
	for i, pod := range out.Pods {
		if len(pod.Hostname) > 63 || pod.Name != fmt.Sprint(name[:251], "-", i) {
			t.Errorf("pod %s has hostname %s", pod.Name, pod.Hostname)
		}
	}
}

// TestWorkloadErrorsAreToldOnce whatever the number of pods.
func TestWorkloadErrorsAreToldOnce(t *testing.T) {
	text := strings.Replace(deployment("d", 5, 0), "web:1", "web:1\n       imag: x", 1)
	out := schema.Parse("f", []byte(text), schema.ParseOptions{})
	if len(out.Problems) != 1 || out.Problems[0].Path != "spec.template.spec.containers[0].imag" || len(out.Refs) != 5 {
		t.Error(report(out))
	}
}

// TestPodsOfWorkloads: each pod is what its own manifest says.
func TestPodsOfWorkloads(t *testing.T) {
	named := strings.Replace(deployment("d", 3, 1), "    spec:\n", "    spec:\n     hostname: d-0\n", 1)
	for _, text := range []string{deployment("d", 3, 1), named, string(read(t, "testdata/documents/workloads.yaml"))} {
		out := schema.Parse("f", []byte(text), schema.ParseOptions{})
		if len(out.Pods) < 3 {
			t.Fatal(report(out))
		}
		for _, pod := range out.Pods {
			again(t, pod)
		}
	}
}
