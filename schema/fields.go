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
// without effect, each once. It returns a copy of the object without the refused keys, and
// without nulls, which Kubernetes takes for absent.
func (d document) fields(object map[string]any) map[string]any {
	tree := fieldsOnce()
	known, _ := d.prune(tree, tree.Defs["Pod"], object, nil).(map[string]any)
	return known
}

func (d document) prune(tree, node *fieldTree, value any, p fieldPath) any {
	node = tree.resolve(node)
	switch v := value.(type) {
	case map[string]any:
		switch {
		case node == nil || node.Type == nil:
			return v
		case node.Properties == nil:
			return d.filled(v, p)
		}
		return d.pruneObject(tree, node, v, p)
	case []any:
		if node == nil || node.Items == nil {
			return v
		}
		list := make([]any, len(v))
		for i, item := range v {
			if item == nil && node.Items.Ref == "" {
				item = d.nothing(p.index(i))
			}
			list[i] = d.prune(tree, node.Items, item, p.index(i))
		}
		return list
	default:
		return v
	}
}

// filled returns a free-form mapping (labels, resources) whose values are all there.
func (d document) filled(object map[string]any, p fieldPath) map[string]any {
	all := maps.Clone(object)
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if object[key] == nil {
			all[key] = d.nothing(p.key(key))
		}
	}
	return all
}

// nothing is what stands for a text that is not there, as in Kubernetes.
func (d document) nothing(p fieldPath) any {
	d.report(p, SeverityWarning, ClassInvalid, "there is no value; it is taken for an empty text")
	return ""
}

func (d document) pruneObject(tree, node *fieldTree, object map[string]any, p fieldPath) map[string]any {
	known := make(map[string]any, len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if d.full() {
			break
		}
		value, at := object[key], p.key(key)
		field := node.Properties[key]
		switch {
		case field == nil:
			d.report(at, SeverityError, ClassUnknown, "there is no such key%s", suggest(key, slices.Collect(maps.Keys(node.Properties))))
		case value == nil:
		case field.Class == classRefused && empty(value):
		case field.Class == classRefused:
			d.report(at, SeverityError, ClassUnsupported, "not supported%s", because(field.Note))
			d.refusedRules(key, value, at)
		default:
			if field.Class == classAccepted {
				d.note(field, at)
			}
			known[key] = d.prune(tree, field, value, at)
		}
	}
	return known
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
