package doctree

import (
	"fmt"
	"strings"
)

// builder makes nodes and keeps the bounds and errors of one file.
type builder struct {
	nodes  int
	errors []Error // of the current document
	full   bool    // MaxErrors was reached
}

// tooBig is the panic value that ends a document past a bound; only
// builder.document recovers it.
type tooBig struct{ err Error }

// node counts and returns a new child of parent.
func (b *builder) node(kind Kind, line, col int, parent *Node, depth int) *Node {
	b.nodes++
	if b.nodes > MaxNodes {
		panic(tooBig{Error{Line: line, Column: col, Message: fmt.Sprintf("the file has more than %d values (aliases counted as often as they are used)", MaxNodes)}})
	}
	if depth > MaxDepth {
		panic(tooBig{Error{Line: line, Column: col, Message: fmt.Sprintf("nested more than %d levels deep", MaxDepth)}})
	}
	return &Node{Kind: kind, Line: line, Column: col, parent: parent}
}

// document runs build and adds what it made (or why it could not) to docs.
// Documents that hold nothing are left out.
func (b *builder) document(docs []Document, line int, build func() *Node) (out []Document, ok bool) {
	b.errors = nil
	root, bound := b.run(build)
	if bound != nil {
		b.errors = append(b.errors, *bound)
	}
	if root == nil && len(b.errors) == 0 || root != nil && root.Kind == Null && len(b.errors) == 0 {
		return docs, true
	}
	if root != nil {
		line = root.Line
	}
	return append(docs, Document{Line: line, Root: root, Errors: b.errors}), bound == nil
}

func (b *builder) run(build func() *Node) (root *Node, bound *Error) {
	defer func() {
		if r := recover(); r != nil {
			t, ok := r.(tooBig)
			if !ok {
				panic(r)
			}
			root, bound = nil, &t.err
		}
	}()
	return build(), nil
}

func (b *builder) errorf(line, col int, path, format string, args ...any) {
	switch {
	case len(b.errors) < MaxErrors:
		b.errors = append(b.errors, Error{Line: line, Column: col, Path: path, Message: fmt.Sprintf(format, args...)})
	case !b.full:
		b.full = true
		b.errors = append(b.errors, Error{Line: line, Column: col, Message: "more errors follow; only the first are shown"})
	}
}

// str sets the text of a String node. A NUL can be no argument, name or
// variable of a process.
func (b *builder) str(n *Node, text string) {
	n.Text = text
	if strings.IndexByte(text, 0) >= 0 {
		b.errorf(n.Line, n.Column, n.Path(), "found a NUL character in a string; no process can be given one")
	}
}

// keySet finds duplicate keys: small maps by looking, large ones by an index.
type keySet struct {
	m     *Node
	index map[string]int
}

const indexFrom = 16

func (s *keySet) find(key string) *Field {
	if s.index != nil {
		if i, ok := s.index[key]; ok {
			return &s.m.Fields[i]
		}
		return nil
	}
	return s.m.Field(key)
}

func (s *keySet) add(f Field) {
	s.m.Fields = append(s.m.Fields, f)
	if s.index != nil {
		s.index[f.Key] = len(s.m.Fields) - 1
		return
	}
	if len(s.m.Fields) < indexFrom {
		return
	}
	s.index = make(map[string]int)
	for i, f := range s.m.Fields {
		s.index[f.Key] = i
	}
}

// duplicate reports a second occurrence of a key.
func (b *builder) duplicate(m *Node, first *Field, line, col int) {
	b.errorf(line, col, m.Child(first.Key), "duplicate key %q; it stands at line %d already", first.Key, first.Line)
}
