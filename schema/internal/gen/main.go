// Command gen writes pod.schema.json: the JSON Schema of the manifests that are
// understood, from the Go types of k8s.io/api and the classes in fields.tsv. It fails when
// a field of Kubernetes has no class or a class no field.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gen FIELDS.TSV SCHEMA.JSON")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(fields, out string) error {
	g := &generator{defs: make(map[string]any), used: make(map[string]bool)}
	var err error
	if g.fields, err = readFields(fields); err != nil {
		return err
	}
	pod := g.ref(reflect.TypeFor[corev1.Pod]())
	for _, name := range slices.Sorted(maps.Keys(g.fields)) {
		if !g.used[name] {
			g.errs = append(g.errs, fmt.Sprintf("%s has a class and is no field of Kubernetes", name))
		}
	}
	if len(g.errs) > 0 {
		return fmt.Errorf("%s", strings.Join(g.errs, "\n"))
	}
	g.defs["List"] = map[string]any{
		"type":                 "object",
		"description":          "Several manifests in one.",
		"properties":           map[string]any{"apiVersion": constant("v1"), "kind": map[string]any{"enum": []string{"List", "PodList"}}, "metadata": map[string]any{"type": "object"}, "items": map[string]any{"type": "array", "items": map[string]any{"anyOf": []any{pod, map[string]any{"$ref": "#/$defs/List"}}}}},
		"required":             []string{"apiVersion", "kind"},
		"additionalProperties": false,
	}
	b, err := json.MarshalIndent(map[string]any{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"$id":         "https://firkin.dev/schema/pod.schema.json",
		"title":       "Manifests of firkin-reconcile",
		"description": "Kubernetes v1 Pods, and Lists of them, as far as firkin-reconcile understands them.",
		"if":          map[string]any{"properties": map[string]any{"kind": map[string]any{"enum": []string{"List", "PodList"}}}, "required": []string{"kind"}},
		"then":        map[string]any{"$ref": "#/$defs/List"},
		"else":        pod,
		"$defs":       g.defs,
	}, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(out, append(b, '\n'), 0o644)
}

// field is one row of the table.
type field struct{ class, note string }

func readFields(path string) (map[string]field, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fields := make(map[string]field)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		row := strings.Split(lines.Text(), "\t")
		if len(row) != 3 {
			return nil, fmt.Errorf("row %q has %d columns, not 3", lines.Text(), len(row))
		}
		if _, double := fields[row[0]]; double {
			return nil, fmt.Errorf("%s has two rows", row[0])
		}
		if !slices.Contains([]string{"supported", "accepted", "unsupported"}, row[1]) {
			return nil, fmt.Errorf("%s has the unknown class %q", row[0], row[1])
		}
		fields[row[0]] = field{row[1], strings.TrimPrefix(row[2], "-")}
	}
	return fields, nil
}

// generator collects the definitions of the types it meets.
type generator struct {
	fields map[string]field
	used   map[string]bool
	defs   map[string]any
	errs   []string
}

// ref returns the schema of a type; structs become definitions.
func (g *generator) ref(t reflect.Type) map[string]any {
	switch {
	case t.Kind() == reflect.Pointer:
		return g.ref(t.Elem())
	case t == reflect.TypeFor[resource.Quantity]():
		return map[string]any{"type": []string{"string", "number"}}
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
		return map[string]any{"type": "array", "items": g.ref(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": g.ref(t.Elem())}
	case reflect.Struct:
		if _, ok := g.defs[t.Name()]; !ok {
			g.defs[t.Name()] = nil // for types that hold themselves
			g.defs[t.Name()] = g.object(t)
		}
		return map[string]any{"$ref": "#/$defs/" + t.Name()}
	default:
		g.errs = append(g.errs, fmt.Sprintf("type %s has no schema", t))
		return nil
	}
}

func (g *generator) object(t reflect.Type) map[string]any {
	properties := make(map[string]any)
	docs := swaggerDoc(t)
	for name, f := range jsonFields(t) {
		key := t.Name() + "." + name
		g.used[key] = true
		class, ok := g.fields[key]
		if !ok && t == reflect.TypeFor[corev1.Volume]() {
			class, ok = field{class: "unsupported"}, true // every other source of volumes
		}
		if !ok {
			g.errs = append(g.errs, fmt.Sprintf("%s is a field of Kubernetes and has no class", key))
			continue
		}
		property := make(map[string]any)
		if class.class == "supported" {
			property = g.ref(f.Type)
			maps.Copy(property, constraints(key))
		}
		if class.class == "unsupported" {
			// What Parse lets pass: defaults that ask for nothing, as kubectl prints them.
			property["enum"] = []any{nil, false, "", []any{}, map[string]any{}}
		}
		property["x-firkin-class"] = class.class
		if class.note != "" {
			property["x-firkin-note"] = class.note
		}
		if d := strings.TrimSpace(lead(class) + " " + docs[name]); d != "" {
			property["description"] = d
		}
		properties[name] = property
	}
	object := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if r := required(t.Name()); r != nil {
		object["required"] = r
	}
	if d := docs[""]; d != "" {
		object["description"] = d
	}
	return object
}

// lead begins the description of a field that does not do what Kubernetes says.
func lead(f field) string {
	text := map[string]string{"accepted": "Taken without effect", "unsupported": "Not supported yet"}[f.class]
	switch {
	case text == "":
		return ""
	case f.note == "":
		return text + "."
	default:
		return text + ": " + f.note + "."
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

func constant(s string) map[string]any { return map[string]any{"const": s} }

func enum(s ...string) map[string]any { return map[string]any{"enum": s} }

// constraints are Kubernetes' rules for single values that its Go types do not carry.
func constraints(key string) map[string]any {
	switch key {
	case "Pod.apiVersion":
		return constant("v1")
	case "Pod.kind":
		return constant("Pod")
	case "PodSpec.restartPolicy":
		return enum("Always", "OnFailure", "Never")
	case "PodSpec.terminationGracePeriodSeconds":
		// Kubernetes has no upper bound; the agent in the guest waits an hour at most.
		return map[string]any{"minimum": 0, "maximum": 3600}
	case "PodSpec.containers":
		return map[string]any{"minItems": 1}
	case "Container.imagePullPolicy":
		return enum("Always", "IfNotPresent", "Never")
	case "EmptyDirVolumeSource.medium":
		return enum("", "Memory")
	case "Container.name", "Container.image", "EnvVar.name", "Volume.name", "VolumeMount.name", "VolumeMount.mountPath", "ObjectMeta.name":
		return map[string]any{"minLength": 1}
	}
	return nil
}

// required are the keys that an object cannot be without.
func required(typeName string) []string {
	switch typeName {
	case "Pod":
		return []string{"apiVersion", "kind", "metadata", "spec"}
	case "ObjectMeta", "EnvVar", "Volume":
		return []string{"name"}
	case "PodSpec":
		return []string{"containers"}
	case "Container":
		return []string{"name", "image"}
	case "VolumeMount":
		return []string{"name", "mountPath"}
	}
	return nil
}
