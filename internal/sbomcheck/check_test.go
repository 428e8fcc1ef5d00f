package main

import (
	"debug/buildinfo"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/guest/bundle"
)

// component is one of an SBOM.
type component struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
}

// TestCheck checks SBOMs of this very test, by a schema of its own: one that is whole, and ones that are not.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, value any) string {
		t.Helper()
		data, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	kinds := map[string]any{"enum": []string{"library"}}
	write("bom-1.6.schema.json", map[string]any{"properties": map[string]any{
		"components": map[string]any{"items": map[string]any{"properties": map[string]any{"type": kinds}}},
	}})
	write("spdx.schema.json", true)
	write("jsf-0.82.schemax.json", true)
	write(bundle.KernelFile, "")
	write(bundle.InitrdFile, "")
	write(bundle.ManifestFile, bundle.Manifest{
		Files:    []bundle.File{{Name: bundle.KernelFile, Bytes: 2}, {Name: bundle.InitrdFile, Bytes: 2}},
		Packages: []bundle.Package{{Name: "linux-image-6", Version: "6.1"}},
	})

	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil || len(info.Deps) == 0 {
		t.Fatalf("no modules: %v", err)
	}
	whole := []component{{"library", "linux-image-6", "6.1"}, {"library", "std", strings.Fields(info.GoVersion)[0]}}
	for _, m := range info.Deps {
		whole = append(whole, component{"library", m.Path, m.Version})
	}
	check := func(components []component) (int, error) {
		return Check(write("sbom.json", map[string]any{"components": components}), dir, dir, []string{program})
	}
	if named, err := check(whole); err != nil || named != len(whole) {
		t.Errorf("%d named, %v", named, err)
	}
	for i := range whole {
		less := append(append([]component(nil), whole[:i]...), whole[i+1:]...)
		if _, err := check(less); err == nil || !strings.Contains(err.Error(), whole[i].Name+"@"+whole[i].Version+" is not in it") {
			t.Errorf("without %s: %v", whole[i].Name, err)
		}
	}
	other := append([]component(nil), whole...)
	other[0].Version = "6.2"
	if _, err := check(other); err == nil {
		t.Error("another version was taken for the right one")
	}
	other[0] = component{"nonsense", "linux-image-6", "6.1"}
	if _, err := check(other); err == nil || !strings.Contains(err.Error(), "value must be") {
		t.Errorf("what the schema does not allow: %v", err)
	}
}
