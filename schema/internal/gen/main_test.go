package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryFieldHasOneClass generates the schema: that fails when a field of k8s.io/api has
// no row in fields.tsv, or two, or a row has no field. The result must be what is committed.
func TestEveryFieldHasOneClass(t *testing.T) {
	out := filepath.Join(t.TempDir(), "schema.json")
	if err := run("../../fields.tsv", out); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../pod.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Error("schema/pod.schema.json is stale: run go generate ./schema")
	}
}

// TestTableMistakes are each refused with the field's name.
func TestTableMistakes(t *testing.T) {
	table, err := os.ReadFile("../../fields.tsv")
	if err != nil {
		t.Fatal(err)
	}
	const row = "Container.image\tsupported\t-\n"
	for name, text := range map[string]string{
		"missing row":   strings.Replace(string(table), row, "", 1),
		"two rows":      string(table) + row,
		"no such field": string(table) + "Container.imagee\tsupported\t-\n",
		"no such class": strings.Replace(string(table), row, "Container.image\tperhaps\t-\n", 1),
		"no note":       strings.Replace(string(table), row, "Container.image\tsupported\n", 1),
	} {
		file := filepath.Join(t.TempDir(), "fields.tsv")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(file, filepath.Join(t.TempDir(), "out")); err == nil || !strings.Contains(err.Error(), "Container.image") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
