package schema

import (
	"maps"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// The rules that a JSON Schema cannot say. They are Kubernetes', in its words where it has
// some, unless they say otherwise.

// all reports each complaint about a value.
func (d document) all(p fieldPath, value string, complaints []string) {
	for _, c := range complaints {
		d.invalid(p, "%q: %s", shorten(value), c)
	}
}

// nuls reports texts that hold a NUL character, which YAML and JSON can escape.
func (d document) nuls(value any, p fieldPath) {
	switch v := value.(type) {
	case string:
		if strings.ContainsRune(v, 0) {
			d.invalid(p, "%q: must not hold a NUL character: no process can be given one", shorten(v))
		}
	case []any:
		for i, item := range v {
			d.nuls(item, p.index(i))
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			d.nuls(v[key], p.key(key))
		}
	}
}

func (d document) metadataRules(m podManifest) {
	p := fieldPath{"metadata"}
	if m.Metadata.Name != "" {
		d.all(p.key("name"), m.Metadata.Name, validation.IsDNS1123Subdomain(m.Metadata.Name))
	}
	if m.Metadata.Namespace != "" {
		d.all(p.key("namespace"), m.Metadata.Namespace, validation.IsDNS1123Label(m.Metadata.Namespace))
	}
	for _, key := range slices.Sorted(maps.Keys(m.Metadata.Labels)) {
		at := p.key("labels").key(key)
		d.all(at, key, validation.IsQualifiedName(key))
		d.all(at, m.Metadata.Labels[key], validation.IsValidLabelValue(m.Metadata.Labels[key]))
	}
	for _, key := range slices.Sorted(maps.Keys(m.Metadata.Annotations)) {
		d.all(p.key("annotations").key(key), key, validation.IsQualifiedName(strings.ToLower(key)))
	}
	if m.Spec.Hostname != "" {
		d.all(fieldPath{"spec", "hostname"}, m.Spec.Hostname, validation.IsDNS1123Label(m.Spec.Hostname))
	}
}

// podRules are those about names that must be unique or declared.
func (d document) podRules(pod *Pod) {
	volumes := make(map[string]bool)
	for i, v := range pod.EmptyDirs {
		at := fieldPath{"spec", "volumes", i, "name"}
		d.label(at, v.Name)
		if v.Name != "" && volumes[v.Name] {
			d.reportRule(RuleDuplicateEmptyDir, at, SeverityError, ClassInvalid, "two volumes are named %q", v.Name)
		}
		volumes[v.Name] = true
	}
	declared := slices.Collect(maps.Keys(volumes))
	names := make(map[string]bool)
	for _, group := range []struct {
		key  string
		list []Container
	}{{"initContainers", pod.InitContainers}, {"containers", pod.Containers}} {
		for i := range group.list {
			c, at := &group.list[i], fieldPath{"spec", group.key, i}
			if c.Name != "" && names[c.Name] {
				d.reportRule(RuleDuplicateContainer, at.key("name"), SeverityError, ClassInvalid, "two containers are named %q", c.Name)
			}
			names[c.Name] = true
			for j, m := range c.Mounts {
				if m.Volume != "" && !volumes[m.Volume] {
					d.reportRule(RuleUndeclaredMount, at.key("volumeMounts").index(j).key("name"), SeverityError, ClassInvalid,
						"no volume is named %q%s", m.Volume, suggest(m.Volume, declared))
				}
			}
		}
	}
}

// label demands a name that is a DNS label, and so safe as a path segment. What is missing
// was reported before.
func (d document) label(p fieldPath, name string) {
	if name != "" {
		d.all(p, name, validation.IsDNS1123Label(name))
	}
}

func (d document) containerRules(c *Container, p fieldPath) {
	d.label(p.key("name"), c.Name)
	d.image(c.Image, p.key("image"))
	for i, e := range c.Env {
		if e.Name != "" {
			d.all(p.key("env").index(i).key("name"), e.Name, validation.IsRelaxedEnvVarName(e.Name))
		}
	}
	if c.WorkingDir != "" && !path.IsAbs(c.WorkingDir) {
		d.invalid(p.key("workingDir"), "%q: must be an absolute path", shorten(c.WorkingDir)) // Kubernetes leaves it to the runtime, which fails
	}
	paths := make(map[string]bool)
	for i, m := range c.Mounts {
		d.mountRules(m, p.key("volumeMounts").index(i), paths)
	}
}

func (d document) mountRules(m VolumeMount, p fieldPath, paths map[string]bool) {
	clean := path.Clean(m.Path)
	switch {
	case m.Path == "":
	case !path.IsAbs(m.Path) || clean == "/" || strings.Contains(m.Path, ":"):
		d.invalid(p.key("mountPath"), "%q: must be an absolute path other than / and without ':'", shorten(m.Path))
	case paths[clean]:
		d.invalid(p.key("mountPath"), "%q: two volumes are mounted there", shorten(m.Path))
	}
	paths[clean] = true
	if m.SubPath != "" && (path.IsAbs(m.SubPath) || slices.Contains(strings.Split(m.SubPath, "/"), "..")) {
		d.invalid(p.key("subPath"), "%q: must be a relative path without '..'", shorten(m.SubPath))
	}
}

// transports are the words before the colon that say where an image comes from.
func transports() []string {
	return []string{"oci", "oci-archive", "docker-archive", "ext4", "guest"}
}

// transport returns the transport of an image reference, "" when it is a registry's.
func transport(image string) string {
	word, _, ok := strings.Cut(image, ":")
	if ok && slices.Contains(transports(), word) {
		return word
	}
	return ""
}

// image checks the outside of an image reference; package image reads it.
func (d document) image(image string, p fieldPath) {
	word, rest, _ := strings.Cut(image, ":")
	switch {
	case image == "":
	case strings.ContainsAny(image, " \t\n\r"):
		d.invalid(p, "%q: must not contain white space", shorten(image))
	case strings.HasPrefix(rest, "//"):
		d.invalid(p, "%q: %s:// is not a kind of image reference; write NAME[:TAG][@DIGEST] or one of %s followed by :PATH",
			shorten(image), word, strings.Join(transports(), ", "))
	case transport(image) != "" && rest == "":
		d.invalid(p, "%q: a path must follow %s:", shorten(image), word)
	case word == "guest" && !path.IsAbs(rest):
		d.invalid(p, "%q: a path in the guest is absolute", shorten(image))
	}
}
