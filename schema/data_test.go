package schema_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestDocuments compares what is said of each file in testdata/documents with the .txt
// beside it: pods, data, claims, then every problem. No value of a document may show.
func TestDocuments(t *testing.T) {
	files, err := filepath.Glob("testdata/documents/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			out := schema.Parse(filepath.Base(file), read(t, file), schema.ParseOptions{})
			got := documents(out) + report(out)
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", got)
			for _, p := range out.Problems {
				for _, secret := range []string{"canary", "424242"} {
					if strings.Contains(p.Message+p.Path, secret) && !strings.Contains(p.Path, secret) {
						t.Errorf("a value shows: %+v", p)
					}
				}
			}
		})
	}
}

func documents(out schema.Parsed) string {
	var b strings.Builder
	for _, p := range out.Pods {
		fmt.Fprintf(&b, "pod %s line %d job %+v\n  %s\n", p.Ref, p.Origin.Line, p.Job, p.Manifest)
	}
	for _, d := range out.Data {
		fmt.Fprintf(&b, "%s line %d binary %q:", d.Document(), d.Origin.Line, d.Binary)
		for _, key := range slices.Sorted(maps.Keys(d.Data)) {
			fmt.Fprintf(&b, " %s=%.15s", key, d.Data[key])
		}
		b.WriteByte('\n')
	}
	for _, c := range out.Claims {
		fmt.Fprintf(&b, "%s line %d size %d\n", c.Document(), c.Origin.Line, c.SizeBytes)
	}
	fmt.Fprintf(&b, "documents: %s\n", out.Documents)
	return b.String()
}
