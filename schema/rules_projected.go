package schema

import "path"

// The bounds of a service account token's life, in seconds.
const (
	minTokenSeconds = 600
	maxTokenSeconds = 1 << 32
)

// projectedRules are those of a projected volume. Two sources must not name one path.
func (d document) projectedRules(s *podSpec, m *volumeManifest, p fieldPath) {
	if m.Projected == nil {
		return
	}
	d.modeRule(m.Projected.DefaultMode, p.key("defaultMode"))
	taken := make(map[string]bool)
	for i := range m.Projected.Sources {
		d.projectionRules(s, &m.Projected.Sources[i], p.key("sources").index(i), taken)
	}
}

func (d document) projectionRules(s *podSpec, m *projection, p fieldPath, taken map[string]bool) {
	var set []string
	if m.Secret != nil {
		set = append(set, "secret")
		d.objectName(m.Secret.Name, p.key("secret").key("name"))
		d.itemRules(m.Secret.Items, p.key("secret").key("items"))
		d.distinct(m.Secret.Items, p.key("secret").key("items"), taken)
	}
	if m.ConfigMap != nil {
		set = append(set, "configMap")
		d.objectName(m.ConfigMap.Name, p.key("configMap").key("name"))
		d.itemRules(m.ConfigMap.Items, p.key("configMap").key("items"))
		d.distinct(m.ConfigMap.Items, p.key("configMap").key("items"), taken)
	}
	if m.DownwardAPI != nil {
		set = append(set, "downwardAPI")
		d.downwardRules(m.DownwardAPI.Items, p.key("downwardAPI").key("items"), taken)
	}
	if t := m.ServiceAccountToken; t != nil {
		set = append(set, "serviceAccountToken")
		at := p.key("serviceAccountToken")
		if s.ServiceAccountName == "" && s.ServiceAccount == "" {
			d.invalid(at, "must not be specified when serviceAccountName is not set")
		}
		if n := t.ExpirationSeconds; n != nil && (*n < minTokenSeconds || *n > maxTokenSeconds) {
			d.invalid(at.key("expirationSeconds"), "must be from %d to %d seconds, is %d", minTokenSeconds, int64(maxTokenSeconds), *n)
		}
		if t.Path == "" {
			d.invalid(at.key("path"), "required")
		}
		d.relative(t.Path, at.key("path"))
	}
	if len(set) > 1 {
		d.invalid(p.key(set[1]), "may not specify more than 1 volume type per source; it is %s too", set[0])
	}
}

func (d document) distinct(items []keyToPath, p fieldPath, taken map[string]bool) {
	for i, item := range items {
		if item.Path == "" {
			continue
		}
		if taken[path.Clean(item.Path)] {
			d.invalid(p.index(i).key("path"), "%q: two files have this path", shorten(item.Path))
		}
		taken[path.Clean(item.Path)] = true
	}
}
