package main

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// The manifests that the demo applies are good, and say nothing that has to be remarked on.
func TestExamples(t *testing.T) {
	files, err := manifestFiles(filepath.Join("..", "..", "examples", "manifests"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	parsed, err := newApp(nil, io.Discard, io.Discard).parseAll(t.Context(), files, schema.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range parsed {
		for _, p := range parsed[i].Problems {
			t.Error(render.Problem(p, false))
		}
	}
	for _, p := range missingWarnings(parsed) {
		t.Error(render.Problem(p, false))
	}
}
