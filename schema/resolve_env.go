package schema

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"
)

// environment fills in a container's variables: those of envFrom sorted by name, then those
// of env in their order. Optional ones that nothing gives are left out.
func (r *resolver) environment(pod *Pod, c *Container) {
	e := environmentOf{resolver: r, pod: pod, container: c, whole: make(map[string]EnvVar), missing: slices.Clone(c.Unavailable)}
	for _, from := range c.EnvFrom {
		e.all(from)
	}
	var env []EnvVar // nil when empty, as it comes back from a record
	for _, name := range slices.Sorted(maps.Keys(e.whole)) {
		env = append(env, e.whole[name])
	}
	for _, v := range c.Env {
		if v.From == nil || e.one(&v) {
			env = append(env, v)
		}
	}
	c.Env, c.EnvFrom, c.Missing = env, nil, e.missing
}

// environmentOf is a container whose variables are being filled in.
type environmentOf struct {
	*resolver
	pod       *Pod
	container *Container
	whole     map[string]EnvVar // those of envFrom, of which the last of a name counts
	missing   []string
}

// all adds a variable for each key of a document. As in Kubernetes names that no variable
// can have are left out, and so are binary data.
func (e *environmentOf) all(from EnvFrom) {
	name, doc := e.document(e.pod.Namespace, from.ConfigMap, from.Secret)
	if doc == nil {
		if !from.Optional {
			e.lacks(name.String())
		}
		return
	}
	for _, key := range slices.Sorted(maps.Keys(doc.Data)) {
		v := EnvVar{Name: from.Prefix + key, From: &ValueSource{ConfigMap: from.ConfigMap, Secret: from.Secret, Key: key}}
		if slices.Contains(doc.Binary, key) || len(validation.IsRelaxedEnvVarName(v.Name)) > 0 {
			continue
		}
		if e.take(&v, name, doc.Data[key]) {
			e.whole[v.Name] = v
		}
	}
}

// one gives a variable its value; false when it has none.
func (e *environmentOf) one(v *EnvVar) bool {
	from := v.From
	v.Value, v.Hidden = "", Hidden{}
	switch {
	case from.ConfigMap != "" || from.Secret != "":
		name, doc := e.document(e.pod.Namespace, from.ConfigMap, from.Secret)
		if doc == nil {
			return e.without(from, name.String())
		}
		content, ok := doc.Data[from.Key]
		if !ok || slices.Contains(doc.Binary, from.Key) {
			return e.without(from, keyOf(name, from.Key))
		}
		return e.take(v, name, content)
	case from.AtRuntime():
		return true
	default:
		value, ok := downwardValue(e.pod, e.container, from)
		if !ok {
			e.lacks(from.what())
		}
		v.Value = value
		return ok
	}
}

// without notes what is missing unless it is optional.
func (e *environmentOf) without(from *ValueSource, what string) bool {
	if !from.Optional {
		e.lacks(what)
	}
	return false
}

// lacks notes what is missing, once.
func (e *environmentOf) lacks(what string) {
	if !slices.Contains(e.missing, what) {
		e.missing = append(e.missing, what)
	}
}

// take gives a variable the content of a key; a Secret's stays hidden. No process can be
// given what is not text, or holds a NUL character.
func (e *environmentOf) take(v *EnvVar, name DocumentName, content Hidden) bool {
	text := content.value
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		e.lacks(keyOf(name, v.From.Key) + " holds binary data, which no variable can have")
		return false
	}
	if v.From.Secret != "" {
		v.Hidden = content
	} else {
		v.Value = text
	}
	return true
}
