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
	Ref        string                `json:"$ref"`
	Class      ProblemClass          `json:"x-firkin-class"`
	Note       string                `json:"x-firkin-note"`
	Properties map[string]*fieldTree `json:"properties"`
	Items      *fieldTree            `json:"items"`
	Defs       map[string]*fieldTree `json:"$defs"`
}

// Classes that only the schema has: what Problem calls a class is what is wrong.
const (
	classSupported ProblemClass = "supported"
	classAccepted  ProblemClass = "accepted"
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

// fields reports every key that is unknown or unsupported, and notes those that are
// taken without effect. It returns a copy of the object with the supported keys only,
// and without nulls, which Kubernetes takes for absent.
func (d document) fields(object map[string]any) map[string]any {
	tree := fieldsOnce()
	known, _ := d.prune(tree, tree.Defs["Pod"], object, nil).(map[string]any)
	return known
}

func (d document) prune(tree, node *fieldTree, value any, p fieldPath) any {
	node = tree.resolve(node)
	switch v := value.(type) {
	case map[string]any:
		if node == nil || node.Properties == nil {
			return v // a free-form mapping: labels, resources
		}
		return d.pruneObject(tree, node, v, p)
	case []any:
		if node == nil || node.Items == nil {
			return v
		}
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = d.prune(tree, node.Items, item, p.index(i))
		}
		return list
	default:
		return v
	}
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
		case field.Class == ClassUnsupported && empty(value):
		case field.Class == ClassUnsupported:
			d.report(at, SeverityError, ClassUnsupported, "not supported yet%s", because(field.Note))
		case field.Class == classAccepted:
			if field.Note != "" {
				d.report(at, SeverityWarning, ClassUnsupported, "%s", field.Note)
			}
		default:
			known[key] = d.prune(tree, field, value, at)
		}
	}
	return known
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
