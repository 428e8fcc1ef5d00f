package firkin

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSemanticsTable checks that each test that docs/SEMANTICS.md names exists.
func TestSemanticsTable(t *testing.T) {
	table, err := os.ReadFile(filepath.Join("docs", "SEMANTICS.md"))
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	err = filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") || path == "semantics_test.go" {
			return err
		}
		b, err := os.ReadFile(path)
		code.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(table)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.Contains(cells[3], "Test") {
			continue
		}
		rows++
		for _, name := range regexp.MustCompile(`Test[\w/]+`).FindAllString(cells[3], -1) {
			test, sub, _ := strings.Cut(name, "/")
			if !strings.Contains(code.String(), "func "+test+"(") {
				t.Errorf("%s: there is no test %s", strings.TrimSpace(cells[1]), test)
			}
			if quoted := `t.Run("` + strings.ReplaceAll(sub, "_", " ") + `"`; sub != "" && !strings.Contains(code.String(), quoted) {
				t.Errorf("%s: there is no subtest %s", strings.TrimSpace(cells[1]), name)
			}
		}
	}
	if rows < 22 {
		t.Errorf("the table has %d rows with tests, want at least 22", rows)
	}
}
