package schema

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
)

// fieldTree is the part of the JSON Schema that says which keys there are, and of which class.
type fieldTree struct {
	Ref   string `json:"$ref"`
	Class string `json:"x-firkin-class"`
	Note  string `json:"x-firkin-note"`
	// Type is nil for what may hold anything.
	Type       any                   `json:"type"`
	Properties map[string]*fieldTree `json:"properties"`
	Items      *fieldTree            `json:"items"`
	Defs       map[string]*fieldTree `json:"$defs"`
}

// The classes of fields that are not supported; what Problem calls a class is what is wrong.
const (
	classAccepted = "accepted"
	classRefused  = "refused"
)

// fieldsOnce reads the tree from the embedded schema, once.
var fieldsOnce = sync.OnceValue( //nolint:gochecknoglobals // set once, never changed
	func() *fieldTree {
		var tree fieldTree
		if err := json.Unmarshal(schemaJSON, &tree); err != nil {
			panic("schema: the embedded JSON Schema is broken: " + err.Error()) // a test reads it
		}
		return &tree
	})

func (t *fieldTree) resolve(node *fieldTree) *fieldTree {
	if node == nil || node.Ref == "" {
		return node
	}
	return t.Defs[strings.TrimPrefix(node.Ref, "#/$defs/")]
}

// fields reports every key that is unknown or refused, and notes those that are taken
// without effect, each once. It returns the object without the refused keys, and without
// nulls, which Kubernetes takes for absent: a copy, unless it is the same.
func (d document) fields(object map[string]any) (known map[string]any, same bool) {
	tree := fieldsOnce()
	value, same := d.prune(tree, tree.Defs["Pod"], object, nil)
	known, _ = value.(map[string]any)
	return known, same
}

func (d document) prune(tree, node *fieldTree, value any, p fieldPath) (known any, same bool) {
	node = tree.resolve(node)
	switch v := value.(type) {
	case map[string]any:
		switch {
		case node == nil || node.Type == nil:
			return v, true
		case node.Properties == nil:
			return d.filled(v, p)
		}
		return d.pruneObject(tree, node, v, p)
	case []any:
		if node == nil || node.Items == nil {
			return v, true
		}
		return d.pruneList(tree, node, v, p)
	default:
		return v, true
	}
}

func (d document) pruneList(tree, node *fieldTree, list []any, p fieldPath) (known []any, same bool) {
	known, same = list, true
	for i, item := range list {
		kept, whole := item, true
		switch {
		case item == nil && node.Items.Ref == "":
			kept, whole = d.nothing(p.index(i)), false
		case nested(item):
			kept, whole = d.prune(tree, node.Items, item, p.index(i))
		}
		if whole {
			continue
		}
		if same {
			known, same = slices.Clone(list), false
		}
		known[i] = kept
	}
	return known, same
}

// filled returns a free-form mapping (labels, resources) whose values are all there.
func (d document) filled(object map[string]any, p fieldPath) (all map[string]any, same bool) {
	all, same = object, true
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if object[key] != nil {
			continue
		}
		if same {
			all, same = maps.Clone(object), false
		}
		all[key] = d.nothing(p.key(key))
	}
	return all, same
}

// nothing is what stands for a text that is not there, as in Kubernetes.
func (d document) nothing(p fieldPath) any {
	d.report(p, SeverityWarning, ClassInvalid, "there is no value; it is taken for an empty text")
	return ""
}

func (d document) pruneObject(tree, node *fieldTree, object map[string]any, p fieldPath) (known map[string]any, same bool) {
	known, same = object, true
	for _, key := range slices.Sorted(maps.Keys(object)) {
		kept, whole := d.pruneField(tree, node, key, object[key], p)
		if whole {
			continue
		}
		if same {
			known, same = maps.Clone(object), false
		}
		if known[key] = kept; kept == nil {
			delete(known, key)
		}
	}
	return known, same
}

// pruneField is prune for the value of a key; nil when nothing of it is kept. p leads to
// what holds the key.
func (d document) pruneField(tree, node *fieldTree, key string, value any, p fieldPath) (known any, same bool) {
	field := node.Properties[key]
	switch {
	case d.full():
		return nil, false
	case field == nil:
		d.report(p.key(key), SeverityError, ClassUnknown, "there is no such key%s", suggest(key, slices.Collect(maps.Keys(node.Properties))))
		return nil, false
	case value == nil || field.Class == classRefused && empty(value):
		return nil, false
	case field.Class == classRefused:
		d.report(p.key(key), SeverityError, ClassUnsupported, "not supported%s", because(field.Note))
		d.refusedRules(key, value, p.key(key))
		return nil, false
	case field.Class == classAccepted:
		d.note(field, p.key(key))
	}
	if !nested(value) {
		return value, true
	}
	return d.prune(tree, field, value, p.key(key))
}

// nested tells values that hold others.
func nested(value any) bool {
	switch value.(type) {
	case map[string]any, []any:
		return true
	default:
		return false
	}
}

// note warns of a field that is taken without effect, once in an object.
func (d document) note(field *fieldTree, p fieldPath) {
	if field.Note == "" || d.noted[field] {
		return
	}
	d.noted[field] = true
	d.report(p, SeverityWarning, ClassUnsupported, "%s", field.Note)
}

func because(note string) string {
	if note == "" {
		return ""
	}
	return ": " + note
}

// empty tells values that ask for nothing: an unsupported field may well be spelled out
// with its default, as kubectl prints it.
func empty(value any) bool {
	switch v := value.(type) {
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	default:
		return false
	}
}
