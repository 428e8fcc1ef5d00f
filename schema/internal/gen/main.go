// Command gen writes what follows from the Go types of k8s.io/api and the classes in
// fields.tsv: pod.schema.json, the JSON Schema of the manifests that are understood, and
// FIELDS.md, the matrix of fields. It fails when a field of Kubernetes has no class or a
// class no field.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: gen FIELDS.TSV SCHEMA.JSON FIELDS.MD")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(fields, schema, matrix string) error {
	rows, err := readTable(fields)
	if err != nil {
		return err
	}
	g := &generator{fields: rows, used: make(map[string]bool), defs: make(map[string]any), lent: make(map[string]bool)}
	root := reflect.TypeFor[corev1.Pod]()
	pod := g.ref(root, place{})
	for _, name := range slices.Sorted(maps.Keys(g.fields)) {
		if !g.used[name] {
			g.errs = append(g.errs, fmt.Sprintf("%s has a class and is no field of Kubernetes", name))
		}
	}
	if len(g.errs) > 0 {
		return errors.New(strings.Join(g.errs, "\n"))
	}
	b, err := json.MarshalIndent(whole(g, pod), "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(schema, append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(matrix, []byte(markdown(root, rows)), 0o644)
}
