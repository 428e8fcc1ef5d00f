package schema_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestProblems compares what is said of each manifest in testdata/problems with the .txt
// beside it: first what became of its pods, then every problem.
func TestProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/problems/*.[yj]*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			got := report(schema.Parse(filepath.Base(file), read(t, file), schema.ParseOptions{}))
			golden(t, strings.TrimSuffix(file, filepath.Ext(file))+".txt", got)
		})
	}
}

// golden compares got with what a file holds.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(read(t, file)), got); diff != "" {
		t.Errorf("(-want +got; -update writes %s anew)\n%s", file, diff)
	}
}

func report(out schema.Parsed) string {
	var b strings.Builder
	fmt.Fprint(&b, "valid:")
	for _, p := range out.Pods {
		fmt.Fprintf(&b, " %s", p.Ref)
	}
	fmt.Fprint(&b, "\nnamed:")
	for _, r := range out.Refs {
		fmt.Fprintf(&b, " %s", r)
	}
	fmt.Fprintf(&b, "\nunreadable: %t\n", out.Unreadable)
	for _, p := range out.Problems {
		fmt.Fprintf(&b, "%d:%d: %s: %s: %s: %s", p.Line, p.Column, p.Severity, p.Class, p.Path, p.Message)
		if p.Rule != "" {
			fmt.Fprintf(&b, " [%s]", p.Rule)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// TestProblemsAreSorted holds for any file, so that output never depends on map order.
func TestProblemsAreSorted(t *testing.T) {
	data := read(t, "testdata/problems/invalid-values.yaml")
	want := schema.Parse("f", data, schema.ParseOptions{}).Problems
	if !slices.IsSortedFunc(want, schema.Problem.Compare) {
		t.Error("problems are not sorted")
	}
	for range 20 {
		got := schema.Parse("f", data, schema.ParseOptions{}).Problems
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("another order the second time:\n%s", diff)
		}
	}
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
