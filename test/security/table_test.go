//go:build linux

package security

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTableIsTrue: every test that SECURITY.md names is there, and every check names one.
func TestTableIsTrue(t *testing.T) {
	text, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(b, -1) {
			there[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named, checks := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`), 0
	for line := range strings.Lines(string(text)) {
		if !regexp.MustCompile(`^\| S\d+ \|`).MatchString(line) {
			continue
		}
		checks++
		tests := named.FindAllString(line, -1)
		if len(tests) == 0 {
			t.Errorf("no test: %s", line)
		}
		for _, name := range tests {
			if !there[name] {
				t.Errorf("there is no %s", name)
			}
		}
	}
	const all = 15
	if checks != all {
		t.Errorf("%d checks, want %d", checks, all)
	}
}
