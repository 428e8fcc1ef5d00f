package reconcile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// words gathers the changes that a cause is made of.
type words []string

func (w *words) note(differs bool, format string, args ...any) {
	if differs {
		*w = append(*w, fmt.Sprintf(format, args...))
	}
}

// or joins the changes, or returns what is said when none is known.
func (w words) or(none string) string {
	if len(w) == 0 {
		return none
	}
	return strings.Join(w, ", ")
}

// containerChange says in words what changed about a container. Values of variables
// are not shown: they may be secret.
func containerChange(old, new *schema.Container) string {
	if old == nil {
		return "its spec changed"
	}
	var w words
	w.note(old.Sidecar != new.Sidecar, "it became %s", map[bool]string{true: "a sidecar", false: "an init container that ends"}[new.Sidecar])
	w.note(old.Image != new.Image, "image changed %s -> %s", old.Image, new.Image)
	w = append(w, envChange(old.Env, new.Env)...)
	w.note(old.WorkingDir != new.WorkingDir, "workingDir changed %s -> %s", old.WorkingDir, new.WorkingDir)
	changed := changedFields(*old, *new)
	for _, f := range changed {
		if !slices.Contains([]string{"name", "sidecar", "image", "imagePullPolicy", "env", "workingDir"}, f) {
			w.note(true, "%s changed", fieldWord(f))
		}
	}
	// envFrom is told by the variables that it gives.
	if len(w) > 1 && slices.Contains(changed, "envFrom") {
		w = slices.DeleteFunc(w, func(s string) bool { return s == "envFrom changed" })
	}
	return w.or("its spec changed")
}

// fieldWord is what manifests call a field of schema.Container that has another name there.
func fieldWord(field string) string {
	switch field {
	case "mounts":
		return "volumeMounts"
	case "liveness", "readiness", "startup":
		return field + "Probe"
	case "postStart", "preStop", "stopSignal":
		return "lifecycle." + field
	case "security":
		return "securityContext"
	case "terminationMessageFallback":
		return "terminationMessagePolicy"
	default:
		return field
	}
}

// changedFields returns the JSON names of the fields in which two structs of a type differ
// when they are written, in order.
func changedFields(old, new any) (names []string) {
	a, b := reflect.ValueOf(old), reflect.ValueOf(new)
	for i := range a.NumField() {
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
		if name != "-" && !sameJSON(a.Field(i).Interface(), b.Field(i).Interface()) {
			names = append(names, name)
		}
	}
	return names
}

// sameJSON tells whether two values are written alike. An empty list is none.
func sameJSON(a, b any) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	if x.Kind() == reflect.Slice && x.Len() == 0 && y.Len() == 0 {
		return true
	}
	from, err := json.Marshal(a)
	if err != nil {
		return false
	}
	to, err := json.Marshal(b)
	return err == nil && bytes.Equal(from, to)
}

// envChange says which variables differ and where their values come from, those of the
// manifest itself first; or that only their order does.
func envChange(old, new []schema.EnvVar) (list []string) {
	if slices.EqualFunc(old, new, sameVar) {
		return nil
	}
	values := func(list []schema.EnvVar) map[string]schema.EnvVar {
		m := make(map[string]schema.EnvVar, len(list))
		for _, e := range list {
			m[e.Name] = e
		}
		return m
	}
	before, after := values(old), values(new)
	bySource := make(map[string][]string)
	note := func(e schema.EnvVar) {
		bySource[sourceName(e.From)] = append(bySource[sourceName(e.From)], e.Name)
	}
	for name, e := range after {
		if was, ok := before[name]; !ok || !sameVar(was, e) {
			note(e)
		}
	}
	for name, e := range before {
		if _, ok := after[name]; !ok {
			note(e)
		}
	}
	if len(bySource) == 0 {
		return []string{"env order changed"}
	}
	for source, names := range bySource {
		slices.Sort(names)
		words := "env " + strings.Join(names, ", ") + " changed"
		if source != "" {
			words += " (" + source + ")"
		}
		bySource[source] = []string{words}
	}
	for _, source := range slices.Sorted(maps.Keys(bySource)) {
		list = append(list, bySource[source][0])
	}
	return list
}

// sameVar tells whether two variables are the same; of hidden values the digests count.
func sameVar(a, b schema.EnvVar) bool {
	return a.Name == b.Name && a.Value == b.Value && a.Hidden.Equal(b.Hidden) &&
		(a.From == b.From || a.From != nil && b.From != nil && *a.From == *b.From)
}

// ending says in words how a container ended.
func ending(s *schema.ContainerStatus) string {
	if words := killedBy(s.Message); words != "" {
		return fmt.Sprintf("it was ended: %s (exit code %d)", words, s.ExitCode)
	}
	if s.Reason != "" && s.Reason != "Error" && s.Reason != "Completed" {
		return fmt.Sprintf("it ended with exit code %d (%s)", s.ExitCode, s.Reason)
	}
	return fmt.Sprintf("it ended with exit code %d", s.ExitCode)
}

// killedBy returns the agent's words about why it ended a container, "" for any other
// message: what a container itself left as its last words is its own business.
func killedBy(message string) string {
	for _, prefix := range []string{"liveness probe", "startup probe", "postStart"} {
		if strings.HasPrefix(message, prefix) {
			line, _, _ := strings.Cut(message, "\n")
			return line
		}
	}
	return ""
}
