package schema

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// envFields are the fields that a variable may hold, labels and annotations aside;
// volumeFields those that a file may.
func envFields() []string {
	return []string{
		"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
	}
}

func volumeFields() []string {
	return []string{"metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations"}
}

// envRules are those of env and envFrom.
func (d document) envRules(m *containerManifest, p fieldPath) {
	for i, e := range m.EnvFrom {
		at := p.key("envFrom").index(i)
		if e.Prefix != "" {
			d.all(at.key("prefix"), e.Prefix, validation.IsRelaxedEnvVarName(e.Prefix))
		}
		switch {
		case e.ConfigMapRef == nil && e.SecretRef == nil:
			d.invalid(at, "required: must specify one of: `configMapRef` or `secretRef`")
		case e.ConfigMapRef != nil && e.SecretRef != nil:
			d.invalid(at, "may not have more than one field specified at a time")
		case e.ConfigMapRef != nil:
			d.objectName(e.ConfigMapRef.Name, at.key("configMapRef").key("name"))
		default:
			d.objectName(e.SecretRef.Name, at.key("secretRef").key("name"))
		}
	}
	for i, e := range m.Env {
		at := p.key("env").index(i)
		if e.Name != "" {
			d.all(at.key("name"), e.Name, validation.IsRelaxedEnvVarName(e.Name))
		}
		if e.ValueFrom != nil {
			d.valueFromRules(e, at.key("valueFrom"))
		}
	}
}

func (d document) valueFromRules(e envManifest, p fieldPath) {
	v, set := e.ValueFrom, 0
	if v.FieldRef != nil {
		set++
		d.fieldRule(v.FieldRef, p.key("fieldRef"), envFields())
	}
	if v.ResourceFieldRef != nil {
		set++
		d.resourceRule(v.ResourceFieldRef, p.key("resourceFieldRef"), false)
	}
	if v.ConfigMapKeyRef != nil {
		set++
		d.keyRefRule(v.ConfigMapKeyRef, p.key("configMapKeyRef"))
	}
	if v.SecretKeyRef != nil {
		set++
		d.keyRefRule(v.SecretKeyRef, p.key("secretKeyRef"))
	}
	switch {
	case set == 0:
		d.invalid(p, "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`")
	case set > 1:
		d.invalid(p, "may not have more than one field specified at a time")
	case e.Value != "":
		d.invalid(p, "may not be specified when `value` is not empty")
	}
}

func (d document) keyRefRule(r *keyRef, p fieldPath) {
	d.objectName(r.Name, p.key("name"))
	if r.Key != "" {
		d.all(p.key("key"), r.Key, validation.IsConfigMapKey(r.Key))
	}
}

// fieldRule demands a path that the downward API has.
func (d document) fieldRule(r *fieldRef, p fieldPath, allowed []string) {
	if r.APIVersion != "" && r.APIVersion != "v1" {
		d.invalid(p.key("apiVersion"), "must be \"v1\", is %q", shorten(r.APIVersion))
	}
	at := p.key("fieldPath")
	field, key, keyed := subscript(r.FieldPath)
	switch {
	case r.FieldPath == "" || slices.Contains(allowed, r.FieldPath):
	case keyed && field == "metadata.labels":
		d.all(at, key, validation.IsQualifiedName(key))
	case keyed && field == "metadata.annotations":
		d.all(at, key, validation.IsQualifiedName(strings.ToLower(key)))
	default:
		d.invalid(at, "must be one of %s, metadata.labels['KEY'] or metadata.annotations['KEY'], is %q%s",
			list(allowed), shorten(r.FieldPath), suggest(r.FieldPath, allowed))
	}
}

// subscript splits metadata.labels['KEY'].
func subscript(field string) (path, key string, ok bool) {
	path, rest, ok := strings.Cut(field, "['")
	key, closed := strings.CutSuffix(rest, "']")
	return path, key, ok && closed
}

// resourceRule demands a resource that the downward API has. A volume must say whose.
func (d document) resourceRule(r *resourceRef, p fieldPath, volume bool) {
	known := []string{
		"limits.cpu", "limits.memory", "limits.ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage",
	}
	if volume && r.ContainerName == "" {
		d.invalid(p.key("containerName"), "required: the container whose resource it is")
	}
	if r.Resource == "" {
		return
	}
	d.oneOf(r.Resource, known, p.key("resource"))
	divisor := d.quantity(r.Divisor, p.key("divisor"))
	allowed := []string{"", "0", "1", "1m"}
	if !strings.HasSuffix(r.Resource, ".cpu") {
		allowed = []string{"", "0", "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
	}
	if text := divisor.String(); r.Divisor != "" && !slices.Contains(allowed, text) {
		d.invalid(p.key("divisor"), "must be one of %s, is %q", list(allowed[1:]), shorten(string(r.Divisor)))
	}
}
