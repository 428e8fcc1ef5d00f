package schema_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// FuzzParse: no input makes it panic; every problem has a place; every valid pod is named,
// and its Manifest, parsed again, is the same pod.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/fields/*.yaml", "testdata/problems/*.[yj]*", "testdata/documents/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			f.Add(read(f, file))
		}
	}
	for _, text := range hostile() {
		if len(text) < 1<<12 {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		out := schema.Parse("f", data, schema.ParseOptions{})
		failed := false
		for _, p := range out.Problems {
			if p.Line < 1 || p.Column < 1 || p.File != "f" || p.Message == "" {
				t.Errorf("a problem without a place or words: %+v", p)
			}
			failed = failed || p.Severity == schema.SeverityError
		}
		if out.Unreadable && !failed {
			t.Error("unreadable, and no error says why")
		}
		named := make(map[schema.Ref]bool)
		for _, r := range out.Refs {
			named[r] = true
		}
		for _, pod := range out.Pods {
			if !named[pod.Ref] {
				t.Errorf("%s is valid and not named", pod.Ref)
			}
			again(t, pod)
		}
	})
}

// again parses a pod's manifest once more.
func again(t *testing.T, pod *schema.Pod) {
	t.Helper()
	want := *pod
	out := schema.Parse("f", pod.Manifest, schema.ParseOptions{})
	if len(out.Pods) != 1 {
		t.Fatalf("its manifest is not valid:\n%s\n%s", report(out), pod.Manifest)
	}
	want.Origin, out.Pods[0].Origin = schema.Origin{}, schema.Origin{}
	want.Job = nil // which a Job's document says
	if diff := cmp.Diff(&want, out.Pods[0]); diff != "" {
		t.Errorf("its manifest is another pod (-first +again)\n%s", diff)
	}
}

func TestManifestIsThePod(t *testing.T) {
	for _, text := range []string{string(read(t, "testdata/every-field.yaml")), manifest("", "", ""), manifest("", "", "terminationGracePeriodSeconds: 0x10")} {
		pod := valid(t, text)
		pod.Source = ""
		again(t, pod)
	}
}

func BenchmarkParse(b *testing.B) {
	for name, data := range map[string][]byte{
		"small":       []byte(manifest("", "args: [a]", "")),
		"every field": read(b, "testdata/every-field.yaml"),
		"problems":    read(b, "testdata/problems/invalid-values.yaml"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				schema.Parse("f", data, schema.ParseOptions{})
			}
		})
	}
}
