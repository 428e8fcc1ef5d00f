// Package doctree turns the bytes of a manifest file into documents of JSON-like
// nodes that know where they stand.
//
// It knows YAML, JSON and hostile input, and nothing about Kubernetes. Scalars
// mean what sigs.k8s.io/yaml makes of them (YAML 1.1: yes, no, on, off are
// booleans, 0777 is octal), because that is what Kubernetes reads.
package doctree

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Kind is the JSON type of a Node.
type Kind int

// The kinds of a Node.
const (
	Null Kind = iota
	Bool
	Number
	String
	List
	Map
)

// String returns the JSON name of the kind.
func (k Kind) String() string {
	return [...]string{"null", "boolean", "number", "string", "list", "object"}[k]
}

// Node is one value of a document.
type Node struct {
	Kind Kind
	// Line and Column are where the value starts, from 1.
	Line, Column int
	// Text is the value of a String, or a Number as JSON writes it, or "true" and "false".
	Text string
	// Items are the elements of a List.
	Items []*Node
	// Fields are the entries of a Map in the order of the file, without duplicates.
	Fields []Field

	parent *Node
	key    string // in a parent Map
	index  int    // in a parent List
}

// Field is one entry of a Map.
type Field struct {
	Key string
	// Line and Column are where the key starts, from 1.
	Line, Column int
	Value        *Node
}

// Get returns the value of a Map's key, nil when there is none (or n is no Map).
func (n *Node) Get(key string) *Node {
	if f := n.Field(key); f != nil {
		return f.Value
	}
	return nil
}

// Field returns the entry of a Map's key, nil when there is none (or n is no Map).
func (n *Node) Field(key string) *Field {
	if n == nil {
		return nil
	}
	for i := range n.Fields {
		if n.Fields[i].Key == key {
			return &n.Fields[i]
		}
	}
	return nil
}

// At follows keys (string) and indexes (int) and returns the node they lead to,
// or the last one on the way that exists.
func (n *Node) At(steps ...any) *Node {
	for _, s := range steps {
		var next *Node
		switch s := s.(type) {
		case string:
			next = n.Get(s)
		case int:
			if s < len(n.Items) {
				next = n.Items[s]
			}
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// Path returns the node's place in its document as Kubernetes writes it,
// "" for the root: spec.containers[0].image, metadata.labels[app].
func (n *Node) Path() string {
	if n.parent == nil {
		return ""
	}
	if n.parent.Kind == List {
		return n.parent.Path() + "[" + strconv.Itoa(n.index) + "]"
	}
	return n.parent.Child(n.key)
}

// Child returns the path of a key of n, whether it exists or not.
func (n *Node) Child(key string) string {
	base := n.Path()
	switch {
	case keyed(n.key) || strings.ContainsAny(key, "./[]\"' \t\r\n") || key == "":
		return base + "[" + key + "]"
	case base == "":
		return key
	default:
		return base + "." + key
	}
}

// keyed tells the fields that are maps of free keys in the Kubernetes API; their
// entries are written [key].
func keyed(field string) bool {
	switch field {
	case "labels", "annotations", "limits", "requests", "nodeSelector", "matchLabels", "overhead":
		return true
	}
	return false
}

// Value returns the node as encoding/json would have decoded it, with
// json.Number for numbers.
func (n *Node) Value() any {
	switch n.Kind {
	case Bool:
		return n.Text == "true"
	case Number:
		return json.Number(n.Text)
	case String:
		return n.Text
	case List:
		list := make([]any, len(n.Items))
		for i, it := range n.Items {
			list[i] = it.Value()
		}
		return list
	case Map:
		m := make(map[string]any, len(n.Fields))
		for _, f := range n.Fields {
			m[f.Key] = f.Value.Value()
		}
		return m
	}
	return nil
}

// JSON returns the node as compact JSON, keys in the order of the file.
func (n *Node) JSON() []byte { return n.appendJSON(nil) }

func (n *Node) appendJSON(b []byte) []byte {
	switch n.Kind {
	case Null:
		return append(b, "null"...)
	case Bool, Number:
		return append(b, n.Text...)
	case String:
		return appendString(b, n.Text)
	case List:
		b = append(b, '[')
		for i, it := range n.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = it.appendJSON(b)
		}
		return append(b, ']')
	default:
		b = append(b, '{')
		for i, f := range n.Fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, f.Key), ':')
			b = f.Value.appendJSON(b)
		}
		return append(b, '}')
	}
}

func appendString(b []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil {
		panic("doctree: marshal string: " + err.Error()) // a string always marshals
	}
	return append(b, q...)
}
