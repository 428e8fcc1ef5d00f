package doctree

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Bounds on a file, so that no input costs more than about a second or a
// quarter of a GiB. A Kubernetes object is at most 1.5 MiB (the limit of etcd).
const (
	// MaxBytes is the largest file.
	MaxBytes = 4 << 20
	// MaxDepth is the deepest nesting of lists and objects; a Pod needs less than 20.
	MaxDepth = 100
	// MaxNodes is the most values, after aliases were expanded, in one file.
	MaxNodes = 200_000
	// MaxErrors is the most errors reported for one file.
	MaxErrors = 100
)

// Document is one document of a file.
type Document struct {
	// Line is where the document's value starts, from 1.
	Line int
	// Root is nil when the document could not be read.
	Root *Node
	// Errors are what is wrong with it. With a Root they are slips such as duplicate keys,
	// of which the first was kept.
	Errors []Error
}

// Error is one thing wrong with a document's syntax.
type Error struct {
	Line, Column int
	// Path is the place in the document, "" for the document itself.
	Path    string
	Message string
}

// Parse splits a file into its documents, JSON or YAML. Empty documents are
// left out. A document that cannot be read does not hide the others.
func Parse(data []byte) []Document {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if e := checkBytes(data); e != nil {
		return []Document{{Line: e.Line, Errors: []Error{*e}}}
	}
	b := &builder{}
	if looksLikeJSON(data) {
		if docs, ok := b.parseJSON(data); ok {
			return docs
		}
		b = &builder{}
	}
	return b.parseYAML(data)
}

// checkBytes refuses what is no UTF-8 text of a bearable size.
func checkBytes(data []byte) *Error {
	switch {
	case len(data) > MaxBytes:
		return &Error{Line: 1, Column: 1, Message: fmt.Sprintf("the file has %d bytes; a manifest file may have at most %d (4 MiB)", len(data), MaxBytes)}
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}), bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		return &Error{Line: 1, Column: 1, Message: "the file is UTF-16; save it as UTF-8"}
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		line, col := position(data, i)
		return &Error{Line: line, Column: col, Message: "found a NUL byte; a manifest is UTF-8 text"}
	}
	if !utf8.Valid(data) {
		i := firstInvalid(data)
		line, col := position(data, i)
		return &Error{Line: line, Column: col, Message: fmt.Sprintf("found byte 0x%02x, which is not UTF-8; save the file as UTF-8", data[i])}
	}
	return nil
}

func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(data) - 1
}

// position returns the line and column (in characters) of a byte offset, from 1.
func position(data []byte, offset int) (line, col int) {
	before := data[:offset]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[start:]) + 1
}

func looksLikeJSON(data []byte) bool {
	t := bytes.TrimLeft(data, " \t\r\n")
	return len(t) > 0 && t[0] == '{'
}
