package schema

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzPlain: what readPlain reads, readAny reads too, as the same value at the same place, and has nothing to say.
func FuzzPlain(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/fields/*.yaml", "testdata/problems/*.yaml", "testdata/documents/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	for text := range unusual() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if checkText(data) != nil {
			return
		}
		for _, c := range split(data) {
			var plain, other document
			value, ok := readPlain(&plain, c.text)
			if !ok {
				continue
			}
			var p parser
			other.out = &p.out.Problems
			if diff := cmp.Diff(p.readAny(&other, c), value); diff != "" {
				t.Errorf("the values differ (-any +plain)\n%s", diff)
			}
			if p.out.Unreadable || len(p.out.Problems) > 0 || plain.nul != other.nul {
				t.Fatalf("unreadable: %t, holds NUL: %t, %t; problems: %v", p.out.Unreadable, plain.nul, other.nul, p.out.Problems)
			}
			if !bytes.Equal(plain.manifest, encode(value)) {
				t.Errorf("the JSON is %s\nthat of the value is %s", plain.manifest, encode(value))
			}
			line, column := plain.position(nil)
			if l, c := other.position(nil); l != line || c != column {
				t.Errorf("it begins at %d:%d, not at %d:%d", l, c, line, column)
			}
			if diff := cmp.Diff(other.places.top(), plain.places.top()); diff != "" {
				t.Errorf("the nodes differ (-any +plain)\n%s", diff)
			}
		}
	})
}

// unusual are documents, and whether they are plain.
func unusual() map[string]bool {
	return map[string]bool{
		"kind: Pod\n":                    true,
		"# about it\n\n---\nkind: Pod\n": true,
		"kind: Pod # a remark\n# more":   true,
		"a: [b, {c: d}]\ne: |\n  text\n": true,
		"a: \"\\0\\u2028\"\n":            true,
		"a: &b 1\nc: d":                  true,
		"a: {-app: 1, 01-init.sh: 2}":    true,
		"a: {.bashrc: 1, e: 2, 3com: x}": true,
		"\"a\": b":                       false, // begins with no letter
		" a: b":                          false, // nor at the margin
		"{a: b}":                         false,
		"{a: b} {c: d}":                  false,
		"--- a\n":                        false,
		"--- {a: b}\n":                   false,
		"---\n--- \na: b":                false,
		"%YAML 1.1\n---\na: b":           false,
		"":                               false,
		"# nothing":                      false,
		"text":                           false, // no mapping
		"a: b\na: c":                     false, // a key twice
		"a: {b: 1, \"b\": 2}":            false,
		"a: {yes: 1, \"yes\": 2}":        false, // a key twice: its text, not its value
		"a: {1: 1, \"1\": 2}":            false,
		"a: {.5: 1}":                     false,
		"a: {.Inf: 1}":                   false,
		"a: {1_000_000_000_000_000_000_000_000.0: 1}": false,
		"a: {-5: 1}":                    false,
		"a: {true: 1}":                  false,
		"a: {~: 1}":                     false, // no key of JSON
		"a: {[b]: 1}":                   false,
		"a: !!binary aGk=":              false,
		"a: !<tag:yaml.org,2002:str> b": false,
		"a: {<<: {b: c}, <<: {d: e}}":   false,
		"a: &x b\nc: {*x : 1, x: 2}":    false,
		"a: b\n%YAML 1.1\n":             false, // something follows
		"a: b\r---\rc: d":               false,
		"a: b\u0085c: d":                false,
		"a: b\u2028c: d":                false,
		"a: b\n}":                       false,
		"a: *b":                         false,
		"a: 'b":                         false,
		"a: \"\\ud800\"":                false,
	}
}

func TestPlain(t *testing.T) {
	for text, want := range unusual() {
		if value, plain := readPlain(new(document), []byte(text)); plain != want {
			t.Errorf("%q: plain is %t (%v)", text, plain, value)
		}
	}
	deep := "a: " + string(bytes.Repeat([]byte("["), maxDepth)) + string(bytes.Repeat([]byte("]"), maxDepth))
	if _, plain := readPlain(new(document), []byte(deep)); plain {
		t.Error("a document that is nested too deep is plain")
	}
}
