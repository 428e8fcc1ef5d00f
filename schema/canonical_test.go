package schema

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every list of a pod that is empty, and left out of the pod's JSON, is none; at the top and in every other list.
func TestCanonicalIsTheJSON(t *testing.T) {
	for _, entries := range []int{0, 1} {
		var pod Pod
		fillLists(reflect.ValueOf(&pod).Elem(), entries)
		text, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		var back Pod
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if pod.Labels == nil || entries > 0 && pod.Containers[0].Liveness.HTTP.Headers == nil {
			t.Fatalf("the pod has no empty lists: %+v", pod)
		}
		canonical(&pod)
		if diff := cmp.Diff(back, pod, cmp.AllowUnexported(Hidden{})); diff != "" {
			t.Errorf("%d entries: the pod is not what comes back from its JSON (-JSON +pod)\n%s", entries, diff)
		}
	}
}

// fillLists sets every pointer, and makes every list an empty one, or one of entries that have lists themselves.
func fillLists(v reflect.Value, entries int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("json") != "-" && f.Name != "Manifest" {
				fillLists(v.Field(i), entries)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillLists(v.Elem(), entries)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
	case reflect.Slice:
		if !holdsList(v.Type().Elem()) {
			entries = 0
		}
		v.Set(reflect.MakeSlice(v.Type(), entries, entries))
		for i := range entries {
			fillLists(v.Index(i), entries)
		}
	}
}

// holdsList tells types with lists in them.
func holdsList(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice, reflect.Map:
		return true
	case reflect.Pointer:
		return holdsList(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && f.Tag.Get("json") != "-" && holdsList(f.Type) {
				return true
			}
		}
	}
	return false
}
