package main

import (
	"fmt"
	"iter"
	"maps"
	"math"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// generator collects the definitions of the types it meets.
type generator struct {
	fields table
	used   map[string]bool
	defs   map[string]any
	// lent are definitions that have their class from an accepted field above.
	lent map[string]bool
	errs []string
}

// place is where a type is used: the class of what is above it when that is not
// supported, and the name it goes by.
type place struct{ class, name string }

// ref returns the schema of a type; structs become definitions.
func (g *generator) ref(t reflect.Type, at place) map[string]any {
	switch {
	case t.Kind() == reflect.Pointer:
		return g.ref(t.Elem(), at)
	case t == reflect.TypeFor[resource.Quantity]():
		return map[string]any{"type": []string{"string", "number"}}
	case t == reflect.TypeFor[intstr.IntOrString]():
		return map[string]any{"type": []string{"integer", "string"}}
	case t == reflect.TypeFor[metav1.Time]():
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int32:
		return map[string]any{"type": "integer", "minimum": -1 << 31, "maximum": 1<<31 - 1}
	case reflect.Int64:
		return map[string]any{"type": "integer", "minimum": math.MinInt64, "maximum": math.MaxInt64}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": g.ref(t.Elem(), at)}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": g.ref(t.Elem(), at)}
	case reflect.Struct:
		return g.define(t, at)
	default:
		g.errs = append(g.errs, fmt.Sprintf("type %s has no schema", t))
		return nil
	}
}

// define makes a definition of a struct, once.
func (g *generator) define(t reflect.Type, at place) map[string]any {
	if at.name == "" {
		at.name = t.Name()
	}
	if _, ok := g.defs[at.name]; !ok || at.class == "" && g.lent[at.name] {
		g.defs[at.name] = nil // for types that hold themselves
		g.lent[at.name] = at.class != ""
		g.defs[at.name] = g.object(t, at)
	}
	return map[string]any{"$ref": "#/$defs/" + at.name}
}

func (g *generator) object(t reflect.Type, at place) map[string]any {
	properties := make(map[string]any)
	docs := swaggerDoc(t)
	for name, f := range jsonFields(t) {
		key, row, ok := g.fields.row(t, at.name, name)
		g.used[key], g.used[t.Name()+"."+name] = true, true
		if at.class != "" {
			row, ok = field{class: at.class}, true
		}
		if !ok {
			g.errs = append(g.errs, fmt.Sprintf("%s is a field of Kubernetes and has no class", key))
			continue
		}
		property := g.property(t, at, name, f.Type, row)
		if d := strings.TrimSpace(lead(row) + " " + docs[name]); d != "" {
			property["description"] = d
		}
		properties[name] = property
	}
	object := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if r := required(at.name); r != nil {
		object["required"] = r
	}
	if d := docs[""]; d != "" {
		object["description"] = d
	}
	return object
}

// property is the schema of one field.
func (g *generator) property(owner reflect.Type, at place, name string, t reflect.Type, row field) map[string]any {
	property := make(map[string]any)
	switch {
	case row.class == refused:
		// What Parse lets pass: defaults that ask for nothing, as kubectl prints them.
		property["enum"] = []any{nil, false, "", []any{}, map[string]any{}}
	case opaque(owner, name):
	default:
		below := place{class: at.class, name: alias(owner.Name(), name)}
		if row.class == accepted {
			below.class = accepted
		}
		property = g.ref(t, below)
		maps.Copy(property, constraints(owner.Name()+"."+name))
	}
	property["x-firkin-class"] = row.class
	if row.note != "" {
		property["x-firkin-note"] = row.note
	}
	return property
}

// opaque tells fields that are written by a cluster and not looked into.
func opaque(owner reflect.Type, name string) bool {
	return owner == reflect.TypeFor[corev1.Pod]() && name == "status" ||
		owner == reflect.TypeFor[metav1.ObjectMeta]() && name == "managedFields"
}

// lead begins the description of a field that does not do what Kubernetes says.
func lead(f field) string {
	text := map[string]string{supported: "Supported", accepted: "Taken without effect", refused: "Not supported"}[f.class]
	switch {
	case f.note != "":
		return text + ": " + f.note + "."
	case f.class == supported:
		return ""
	default:
		return text + "."
	}
}

// jsonFields yields the fields of a struct by their JSON names, inlined ones included.
func jsonFields(t reflect.Type) iter.Seq2[string, reflect.StructField] {
	return func(yield func(string, reflect.StructField) bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && !yield(name, f) {
				return
			}
			if name == "" && f.Anonymous {
				for name, f := range jsonFields(f.Type) {
					if !yield(name, f) {
						return
					}
				}
			}
		}
	}
}

// swaggerDoc is what k8s.io/api says of a type ("") and its fields, inlined ones included.
func swaggerDoc(t reflect.Type) map[string]string {
	docs := make(map[string]string)
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous && f.Type.Kind() == reflect.Struct {
			maps.Copy(docs, swaggerDoc(f.Type))
		}
	}
	delete(docs, "")
	if d, ok := reflect.Zero(t).Interface().(interface{ SwaggerDoc() map[string]string }); ok {
		maps.Copy(docs, d.SwaggerDoc())
	}
	return docs
}
