package schema

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// The documents that are no pods have few keys: they are checked by the tables here, and
// never by showing a value, which may be a secret.

// valueKind is what a value of a document must be.
type valueKind int

const (
	anyValue valueKind = iota
	textValue
	flagValue
	wholeValue
	mappingValue
	listValue
)

// fits tells whether a value is of the kind.
func (k valueKind) fits(value any) (ok bool) {
	switch k {
	case textValue:
		_, ok = value.(string)
	case flagValue:
		_, ok = value.(bool)
	case wholeValue:
		n, number := value.(json.Number)
		if number {
			_, err := n.Int64()
			ok = err == nil
		}
	case mappingValue:
		_, ok = value.(map[string]any)
	case listValue:
		_, ok = value.([]any)
	default:
		ok = true
	}
	return ok
}

// String says what a value of the kind is.
func (k valueKind) String() string {
	switch k {
	case textValue:
		return "a text"
	case flagValue:
		return "true or false"
	case wholeValue:
		return "a whole number"
	case mappingValue:
		return "a mapping"
	case listValue:
		return "a list"
	default:
		return "anything"
	}
}

// nature says what a value is without showing it.
func nature(value any) string {
	switch value.(type) {
	case nil:
		return "nothing"
	case string:
		return "a text"
	case bool:
		return "a boolean"
	case json.Number:
		return "a number"
	case []any:
		return "a list"
	default:
		return "a mapping"
	}
}

// keyRule is one key that a mapping may have.
type keyRule struct {
	key  string
	kind valueKind
	// class is "" for a key that is supported, else as in the table of fields.
	class ProblemClass
	// note is told to users; of an accepted key "" tells them nothing.
	note string
}

// documentRules are the keys that every document has.
func documentRules() []keyRule {
	return []keyRule{
		{key: "apiVersion", kind: textValue},
		{key: "kind", kind: textValue},
		{key: "metadata", kind: mappingValue},
		{key: "status", class: classAccepted},
	}
}

// keys reports the keys of a mapping that are in no rule, refused, or of another type than
// their rule says, and notes those that are taken without effect. It returns the others.
// At the top of a document, where p is empty, the keys of every document are known too.
func (d document) keys(object map[string]any, p fieldPath, rules []keyRule) map[string]any {
	if len(p) == 0 {
		rules = slices.Concat(rules, documentRules())
	}
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.key
	}
	known := make(map[string]any, len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		value, at, i := object[key], p.key(key), slices.Index(names, key)
		switch {
		case i < 0:
			d.report(at, SeverityError, ClassUnknown, "there is no such key%s", suggest(key, names))
		case value == nil:
		case rules[i].class == ClassUnsupported && empty(value):
		case rules[i].class == ClassUnsupported:
			d.report(at, SeverityError, ClassUnsupported, "not supported%s", because(rules[i].note))
		case rules[i].class == classAccepted:
			if rules[i].note != "" && !empty(value) {
				d.report(at, SeverityWarning, ClassUnsupported, "%s", rules[i].note)
			}
		case !rules[i].kind.fits(value):
			d.invalid(at, "must be %s, is %s", rules[i].kind, nature(value))
		default:
			known[key] = value
		}
	}
	return known
}

// head checks apiVersion and metadata of a document, and returns what it is called.
func (d document) head(known map[string]any, version string) Ref {
	if got, _ := known["apiVersion"].(string); got != version {
		if got == "" {
			d.invalid(fieldPath{"apiVersion"}, "required: %s", version)
		} else {
			d.invalid(fieldPath{"apiVersion"}, "must be %q, is %q", version, shorten(got))
		}
	}
	metadata, _ := known["metadata"].(map[string]any)
	at := fieldPath{"metadata"}
	rules := objectMeta()
	name, _ := metadata["name"].(string)
	if name != "" { // then it counts, as in Kubernetes
		rules = append(rules, keyRule{key: "generateName", class: classAccepted})
	} else {
		rules = append(rules, keyRule{
			key: "generateName", class: ClassUnsupported,
			note: "pods refer to a document by its name: give it a metadata.name",
		})
	}
	known = d.keys(metadata, at, rules)
	if name == "" {
		d.invalid(at.key("name"), "required")
	} else {
		d.all(at.key("name"), name, validation.IsDNS1123Subdomain(name))
	}
	namespace, _ := known["namespace"].(string)
	if namespace == "" {
		namespace = DefaultNamespace
	} else {
		d.all(at.key("namespace"), namespace, validation.IsDNS1123Label(namespace))
	}
	d.tags(known, at)
	return Ref{Namespace: namespace, Name: name}
}

// objectMeta are the keys of Kubernetes' ObjectMeta.
func objectMeta() []keyRule {
	rules := []keyRule{
		{key: "name", kind: textValue},
		{key: "namespace", kind: textValue},
		{key: "labels", kind: mappingValue},
		{key: "annotations", kind: mappingValue},
		{key: "deletionTimestamp", class: ClassUnsupported, note: "take the manifest away to remove it"},
	}
	for _, key := range []string{
		"selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
		"deletionGracePeriodSeconds", "ownerReferences", "finalizers", "managedFields",
	} {
		rules = append(rules, keyRule{key: key, class: classAccepted})
	}
	return rules
}

// tags checks labels and annotations; an annotation's value, which may be the document as
// it was applied, is never shown.
func (d document) tags(metadata map[string]any, p fieldPath) {
	for _, field := range []string{"labels", "annotations"} {
		mapping, _ := metadata[field].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(mapping)) {
			at := p.key(field).key(key)
			if field == "labels" {
				d.all(at, key, validation.IsQualifiedName(key))
			} else {
				d.all(at, key, validation.IsQualifiedName(strings.ToLower(key)))
			}
			text, ok := mapping[key].(string)
			switch {
			case !ok && mapping[key] != nil:
				d.invalid(at, "must be a text, is %s; put it in quotes", nature(mapping[key]))
			case field == "labels":
				d.all(at, text, validation.IsValidLabelValue(text))
			}
		}
	}
}

// doubledWithin tells whether a key stands twice in this object, so that a value was lost.
func (d document) doubledWithin() bool {
	return slices.ContainsFunc(d.doubled, func(double fieldPath) bool {
		return slices.Equal(double[:min(len(double), len(d.prefix))], d.prefix)
	})
}
