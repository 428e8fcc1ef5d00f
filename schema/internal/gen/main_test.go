package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryFieldHasOneClass generates the schema: that fails when a field of k8s.io/api has
// no row in fields.tsv, or two, or a row has no field. The result must be what is committed.
func TestEveryFieldHasOneClass(t *testing.T) {
	out, matrix := filepath.Join(t.TempDir(), "schema.json"), filepath.Join(t.TempDir(), "fields.md")
	if err := run(fieldsFile, out, matrix); err != nil {
		t.Fatal(err)
	}
	for made, committed := range map[string]string{out: "../../pod.schema.json", matrix: "../../../docs/FIELDS.md"} {
		if got, want := read(t, made), read(t, committed); !bytes.Equal(want, got) {
			t.Errorf("%s is stale: run go generate ./schema", committed)
		}
	}
}

// fieldsFile is the table of fields.
const fieldsFile = "../../fields.tsv"

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestProofsExist: the test that a row names is one of ours.
func TestProofsExist(t *testing.T) {
	rows, err := readTable(fieldsFile)
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t, "../../..")
	for name, row := range rows {
		if !tests[row.test] {
			t.Errorf("%s is proved by %s, which does not exist", name, row.test)
		}
	}
}

// testNames finds all tests below a directory, as DIR.TestNAME.
func testNames(t *testing.T, root string) map[string]bool {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	names := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		for _, m := range function.FindAllSubmatch(read(t, path), -1) {
			names[filepath.ToSlash(dir)+"."+string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestTableMistakes are each refused with the field's name.
func TestTableMistakes(t *testing.T) {
	table := read(t, fieldsFile)
	const row = "Container.image\tsupported\t0.1.0\tschema.TestEveryField\t-\n"
	for name, text := range map[string]string{
		"missing row":   strings.Replace(string(table), row, "", 1),
		"two rows":      string(table) + row,
		"no such field": string(table) + strings.Replace(row, "image", "imagee", 1),
		"no such class": strings.Replace(string(table), row, strings.Replace(row, "supported", "perhaps", 1), 1),
		"no note":       strings.Replace(string(table), row, strings.TrimSuffix(row, "\t-\n")+"\n", 1),
	} {
		file := filepath.Join(t.TempDir(), "fields.tsv")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(file, filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "out")); err == nil || !strings.Contains(err.Error(), "Container.image") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
