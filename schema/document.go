package schema

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// fieldPath leads to a value in a document: keys (string, plainKey, hiddenKey) and indexes (int).
type fieldPath []any

// key and index return the path to a child; they never share memory with p.
func (p fieldPath) key(k string) fieldPath { return append(p[:len(p):len(p)], k) }
func (p fieldPath) index(i int) fieldPath  { return append(p[:len(p):len(p)], i) }

// child is key for the paths that Kubernetes writes without brackets, whatever the key.
func (p fieldPath) child(k string) fieldPath { return append(p[:len(p):len(p)], plainKey(k)) }

// plainKey is a step of a fieldPath that is written without brackets, hiddenKey one that
// is not written at all: Kubernetes then names what holds the key.
type (
	plainKey  string
	hiddenKey string
)

// String writes the path as Kubernetes does: spec.containers[0].image, and free keys in
// brackets: metadata.labels[app], resources.limits[cpu].
func (p fieldPath) String() string {
	var b strings.Builder
	for i, step := range p {
		switch s := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", s)
		case plainKey:
			b.WriteString("." + string(s))
		case hiddenKey:
		case string:
			if strings.ContainsAny(s, ".[] \t\r\n") || s == "" || i > 0 && freeKeys(p[i-1]) {
				fmt.Fprintf(&b, "[%s]", s)
				continue
			}
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s)
		}
	}
	return b.String()
}

// freeKeys tells the fields of Kubernetes that are mappings with any keys.
func freeKeys(field any) bool {
	switch field {
	case "labels", "annotations", "limits", "requests", "matchLabels", "data", "binaryData", "stringData":
		return true
	}
	return false
}

// document is one YAML document of a file, or one item of a List in it.
type document struct {
	file   string
	line   int // lines of the file before the document's text
	index  int // which document of the file it is, from 0
	places *places
	prefix fieldPath // where the object is in the document
	opt    *ParseOptions
	// doubled are the paths of keys that stand twice.
	doubled []fieldPath
	out     *[]Problem
	// manifest is the JSON of the object, nil when it has to be made.
	manifest []byte
	nul      bool // some text may hold a NUL character
	start    int  // how many problems there were before this object
	// noted are the fields of this object that a note was given for.
	noted map[*fieldTree]bool
}

// failed tells whether an error of this object was reported.
func (d document) failed() bool {
	return d.full() || slices.ContainsFunc((*d.out)[d.start:], func(p Problem) bool { return p.Severity == SeverityError })
}

// item returns the document of an object inside this one.
func (d document) item(p fieldPath) document {
	d.prefix, d.manifest = slices.Concat(d.prefix, p), nil
	return d
}

// report adds a problem at the place that p leads to, or at the nearest thing above it.
func (d document) report(p fieldPath, severity Severity, class ProblemClass, format string, args ...any) {
	d.reportRule("", p, severity, class, format, args...)
}

func (d document) reportRule(rule Rule, p fieldPath, severity Severity, class ProblemClass, format string, args ...any) {
	if d.full() {
		return
	}
	full := slices.Concat(d.prefix, p)
	line, column := d.position(full)
	d.add(Problem{
		File: d.file, Line: line, Column: column, Path: full.String(),
		Severity: severity, Class: class, Rule: rule, Message: fmt.Sprintf(format, args...),
	})
}

// add keeps a problem, and of too many that there are more.
func (d document) add(p Problem) {
	switch {
	case len(*d.out) < maxProblems:
	case len(*d.out) == maxProblems:
		p.Path, p.Severity, p.Class, p.Rule = "", SeverityError, ClassInvalid, ""
		p.Message = fmt.Sprintf("there are more problems than %d in this file; the others are not shown", maxProblems)
	default:
		return
	}
	*d.out = append(*d.out, p)
}

// full tells that nothing more can be reported, so that looking further is idle.
func (d document) full() bool { return len(*d.out) > maxProblems }

// invalid reports a value that is not allowed.
func (d document) invalid(p fieldPath, format string, args ...any) {
	d.report(p, SeverityError, ClassInvalid, format, args...)
}

// chunk is the text of one document.
type chunk struct {
	text  []byte
	line  int // lines before it
	index int // which one of the file it is, from 0
}

// split cuts a file at its document separators, which YAML allows nowhere else.
func split(data []byte) []chunk {
	var chunks []chunk
	start, startLine, line := 0, 0, 0
	directives := true // nothing but directives and comments since start
	for i := 0; i < len(data); {
		end := len(data)
		if n := bytes.IndexByte(data[i:], '\n'); n >= 0 {
			end = i + n + 1
		}
		text := data[i:end]
		switch {
		case separator(text, "---") && !directives:
			chunks = append(chunks, chunk{text: data[start:i], line: startLine})
			start, startLine = i, line
		case separator(text, "..."):
			chunks = append(chunks, chunk{text: data[start:i], line: startLine})
			start, startLine, directives = end, line+1, true
		}
		if t := bytes.TrimSpace(text); !separator(text, "...") && len(t) > 0 && t[0] != '#' && t[0] != '%' {
			directives = false
		}
		line++
		i = end
	}
	return append(chunks, chunk{text: data[start:], line: startLine})
}

// separator tells whether a line begins with a marker of YAML, --- or ... .
func separator(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// errorLine finds the line that a YAML parser's message names.
var errorLine = regexp.MustCompile(`line (\d+)(?:, column (\d+))?: ?`)

// shownValue is a value of the text in a YAML parser's message: it may be a secret.
var shownValue = regexp.MustCompile("(?s)`.*`|unknown anchor '.*' referenced")

// withoutValues says what a YAML parser says without repeating a value.
func withoutValues(message string) string {
	return shownValue.ReplaceAllStringFunc(message, func(shown string) string {
		if shown[0] == '`' {
			return "a value"
		}
		return "a value begins with * and refers to no anchor; if it is text put it in quotes"
	})
}

// unreadable reports a syntax error at the line that the parser names.
func unreadable(file string, c chunk, err error, out *[]Problem) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line, column := c.line+1, 1
	if m := errorLine.FindStringSubmatch(message); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = c.line + max(n, 1)
		}
		if n, err := strconv.Atoi(m[2]); err == nil {
			column = n
		}
		message = strings.Replace(message, m[0], "", 1)
	}
	message = withoutValues(message)
	*out = append(*out, Problem{
		File: file, Line: line, Column: column, Severity: SeverityError, Class: ClassInvalid,
		Message: "not readable as YAML or JSON: " + message,
	})
}
