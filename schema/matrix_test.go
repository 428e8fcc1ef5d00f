package schema_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// everyField are manifests that together have every supported field.
func everyField() []string {
	return []string{"testdata/every-field.yaml", "testdata/every-field-0.2.yaml"}
}

// TestEveryField: what becomes of each supported field is written in the .json beside the
// manifests, and none is missing in them.
func TestEveryField(t *testing.T) {
	for _, file := range everyField() {
		out := schema.Parse("/m/web.yaml", read(t, file), schema.ParseOptions{Source: "/m", Commit: "abc"})
		if len(out.Pods) != len(out.Refs) {
			t.Fatalf("not all pods are valid:\n%s", report(out))
		}
		var got strings.Builder
		for i := range out.Pods {
			out.Pods[i].Manifest = nil
			b, err := json.MarshalIndent(&out.Pods[i], "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got.Write(append(b, '\n'))
		}
		golden(t, strings.TrimSuffix(file, ".yaml")+".json", got.String())
	}
	hasAll(t, "supported", everyField()...)
}

// TestAcceptedFields: each gives its note, once.
func TestAcceptedFields(t *testing.T) {
	const file = "testdata/fields/accepted.yaml"
	out := schema.Parse("accepted.yaml", read(t, file), schema.ParseOptions{})
	golden(t, "testdata/fields/accepted.txt", report(out))
	if len(out.Pods) != 1 {
		t.Error("the pod is not valid")
	}
	hasAll(t, "accepted", file)
}

// TestRefusedFields: each is an error that names it and says why.
func TestRefusedFields(t *testing.T) {
	const file = "testdata/fields/refused.yaml"
	out := schema.Parse("refused.yaml", read(t, file), schema.ParseOptions{})
	golden(t, "testdata/fields/refused.txt", report(out))
	for _, p := range out.Problems {
		if p.Class == schema.ClassUnsupported && !strings.Contains(p.Message, ": ") {
			t.Errorf("%s is refused without a reason: %s", p.Path, p.Message)
		}
	}
	hasAll(t, "refused", file)
}

// classTree is the part of the JSON Schema that says of which class a field is.
type classTree struct {
	Ref        string                `json:"$ref"`
	Class      string                `json:"x-firkin-class"`
	Properties map[string]*classTree `json:"properties"`
	Items      *classTree            `json:"items"`
	Defs       map[string]*classTree `json:"$defs"`
}

// hasAll demands that the files have every field of a class.
func hasAll(t *testing.T, class string, files ...string) {
	t.Helper()
	var tree classTree
	if err := json.Unmarshal(schema.JSON(), &tree); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, file := range files {
		for text := range strings.SplitSeq(string(read(t, file)), "\n---\n") {
			var value any
			if err := yaml.Unmarshal([]byte(text), &value); err != nil {
				t.Fatal(err)
			}
			tree.visit("Pod", &classTree{Ref: "#/$defs/Pod"}, value, found)
		}
	}
	var missing []string
	for name, def := range tree.Defs {
		for key, field := range def.Properties {
			if field.Class == class && !found[name+"."+key] && reachable(name) {
				missing = append(missing, name+"."+key)
			}
		}
	}
	if slices.Sort(missing); len(missing) > 0 {
		t.Errorf("%s has no %s field %q", files, class, missing)
	}
}

// reachable leaves out definitions that others stand for: InitContainer's fields but one
// are Container's.
func reachable(definition string) bool { return definition != "InitContainer" }

// visit collects the fields of a value as DEFINITION.KEY.
func (tree *classTree) visit(name string, node *classTree, value any, found map[string]bool) {
	if ref, ok := strings.CutPrefix(node.Ref, "#/$defs/"); ok {
		name, node = ref, tree.Defs[ref]
	}
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if child := node.Properties[key]; child != nil {
				found[name+"."+key] = true
				tree.visit(name, child, v[key], found)
			}
		}
	case []any:
		for _, item := range v {
			if node.Items != nil {
				tree.visit(name, node.Items, item, found)
			}
		}
	}
}
