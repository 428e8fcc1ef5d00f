package schema_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"sigs.k8s.io/yaml"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestEditorsSchema judges whole documents with the schema as an editor does: it must take
// what Parse takes and refuse mistakes that a schema can say.
func TestEditorsSchema(t *testing.T) {
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("pod.schema.json", bytes.NewReader(schema.JSON())); err != nil {
		t.Fatal(err)
	}
	judge, err := compiler.Compile("pod.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	plain := manifest("", "", "")
	list := "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(plain), "\n", "\n  ")
	tests := map[string]struct {
		text string
		ok   bool
	}{
		"plain":               {plain, true},
		"list":                {list, true},
		"every field":         {string(read(t, "testdata/every-field.yaml")), true},
		"kubectl's output":    {string(read(t, "testdata/problems/kubectl-output.yaml")), true},
		"unknown key":         {strings.Replace(plain, "image:", "imagee: x\n    image:", 1), false},
		"unknown key in list": {strings.Replace(list, "image:", "imagee: x\n      image:", 1), false},
		"unsupported":         {manifest("", "", "volumes: [{name: a, nfs: {server: a, path: /}}]"), false},
		"wrong type":          {manifest("", "command: run", ""), false},
		"wrong word":          {manifest("", "", "restartPolicy: always"), false},
		"no image":            {strings.Replace(plain, "    image: web:1\n", "", 1), false},
		"no containers":       {"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}", false},
		"negative":            {manifest("", "", "terminationGracePeriodSeconds: -1"), false},
		"another kind":        {"apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: a}", false},
	}
	for name, tt := range tests {
		var value any
		if err := yaml.Unmarshal([]byte(tt.text), &value); err != nil {
			t.Fatal(err)
		}
		if err := judge.Validate(value); (err == nil) != tt.ok {
			t.Errorf("%s: the schema says %v", name, err)
		}
		valid := len(schema.Parse("f", []byte(tt.text), schema.ParseOptions{}).Pods) == 1
		if valid != tt.ok {
			t.Errorf("%s: Parse says valid = %t", name, valid)
		}
	}
}

// TestSchemaDescribesEveryKey: editors show what a key is for, and what we make of it.
func TestSchemaDescribesEveryKey(t *testing.T) {
	var tree struct {
		Defs map[string]struct {
			Properties map[string]struct {
				Class       string `json:"x-firkin-class"`
				Description string `json:"description"`
			} `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(schema.JSON(), &tree); err != nil {
		t.Fatal(err)
	}
	for name, def := range tree.Defs {
		for key, p := range def.Properties {
			if name != "List" && name != "Workload" && (p.Class == "" || p.Description == "") {
				t.Errorf("%s.%s has class %q and description %q", name, key, p.Class, p.Description)
			}
		}
	}
}

// TestReferencesStandAlone: what is judged by is the definition that a schema refers to, so nothing
// beside the reference may ask for more.
func TestReferencesStandAlone(t *testing.T) {
	var tree any
	if err := json.Unmarshal(schema.JSON(), &tree); err != nil {
		t.Fatal(err)
	}
	references := 0
	var walk func(value any)
	walk = func(value any) {
		switch v := value.(type) {
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			_, refers := v["$ref"].(string)
			for key, item := range v {
				if refers && key != "$ref" && key != "description" && !strings.HasPrefix(key, "x-firkin-") {
					t.Errorf("%s stands beside the reference to %s", key, v["$ref"])
				}
				walk(item)
			}
			if refers {
				references++
			}
		}
	}
	defs, _ := tree.(map[string]any)["$defs"].(map[string]any)
	walk(defs)
	if references == 0 {
		t.Error("there are no references")
	}
}
