package schema

import (
	"k8s.io/apimachinery/pkg/util/validation"
)

// maxWeight is the largest weight of a preference.
const maxWeight = 100

func (d document) affinityRules(a *affinity, p fieldPath) {
	const required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
	at := p.key("nodeAffinity")
	if r := a.NodeAffinity.Required; r != nil {
		at := at.key(required).key("nodeSelectorTerms")
		if len(r.NodeSelectorTerms) == 0 {
			d.invalid(at, "required: must have at least one node selector term")
		}
		for i, t := range r.NodeSelectorTerms {
			d.nodeTermRules(t, at.index(i))
		}
	}
	for i, t := range a.NodeAffinity.Preferred {
		d.weight(t.Weight, at.key(preferred).index(i).key("weight"))
		d.nodeTermRules(t.Preference, at.key(preferred).index(i).key("preference"))
	}
	for _, pods := range []struct {
		key   string
		rules *podAffinity
	}{{"podAffinity", &a.PodAffinity}, {"podAntiAffinity", &a.PodAntiAffinity}} {
		at := p.key(pods.key)
		for i, t := range pods.rules.Required {
			d.podTermRules(t, at.key(required).index(i))
		}
		for i, t := range pods.rules.Preferred {
			d.weight(t.Weight, at.key(preferred).index(i).key("weight"))
			d.podTermRules(t.Term, at.key(preferred).index(i).key("podAffinityTerm"))
		}
	}
}

func (d document) weight(n int32, p fieldPath) {
	if n < 1 || n > maxWeight {
		d.invalid(p, "must be in the range 1-%d, is %d", maxWeight, n)
	}
}

func (d document) nodeTermRules(t nodeTerm, p fieldPath) {
	for i, r := range t.MatchExpressions {
		d.nodeRequirement(r, p.key("matchExpressions").index(i))
	}
	for i, r := range t.MatchFields {
		at := p.key("matchFields").index(i)
		switch {
		case r.Operator != "In" && r.Operator != "NotIn":
			d.invalid(at.key("operator"), "%q: not a valid selector operator", shorten(r.Operator))
		case len(r.Values) != 1:
			d.invalid(at.key("values"), "required: must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
		}
		if r.Key != "metadata.name" {
			d.invalid(at.key("key"), "%q: not a valid field selector key", shorten(r.Key))
		}
	}
}

func (d document) nodeRequirement(r requirement, p fieldPath) {
	switch r.Operator {
	case "Gt", "Lt":
		if len(r.Values) != 1 {
			d.invalid(p.key("values"), "required: must be specified single value when `operator` is 'Lt' or 'Gt'")
		}
	default:
		d.operatorRules(r, p)
	}
	d.all(p.key("key"), r.Key, validation.IsQualifiedName(r.Key))
	for i, value := range r.Values {
		d.all(p.key("values").index(i), value, validation.IsValidLabelValue(value))
	}
}

func (d document) podTermRules(t podTerm, p fieldPath) {
	d.selectorRules(t.LabelSelector, p.key("labelSelector"))
	d.selectorRules(t.NamespaceSelector, p.key("namespaceSelector"))
	for i, name := range t.Namespaces {
		d.all(p.key("namespaces").index(i), name, validation.IsDNS1123Label(name))
	}
	if t.TopologyKey == "" {
		d.invalid(p.key("topologyKey"), "required: can not be empty")
	} else {
		d.all(p.key("topologyKey"), t.TopologyKey, validation.IsQualifiedName(t.TopologyKey))
	}
	d.labelKeys(t, t.MatchLabelKeys, p.key("matchLabelKeys"))
	d.labelKeys(t, t.MismatchLabelKeys, p.key("mismatchLabelKeys"))
	selected, mismatch := t.LabelSelector.keys(), set(t.MismatchLabelKeys)
	for i, key := range t.MatchLabelKeys {
		if mismatch[key] {
			d.invalid(p.key("matchLabelKeys").index(i), "%q: exists in both matchLabelKeys and mismatchLabelKeys", shorten(key))
		}
		if selected[key] { // Kubernetes names the place of the key in the term as this
			d.invalid(p.index(i), "%q: exists in both matchLabelKeys and labelSelector", shorten(key))
		}
	}
}

// labelKeys are keys of labels that stand for the pod's own values.
func (d document) labelKeys(t podTerm, keys []string, p fieldPath) {
	if len(keys) > 0 && t.LabelSelector == nil {
		d.invalid(p, "must not be specified when labelSelector is not set")
	}
	for i, key := range keys {
		d.all(p.index(i), key, validation.IsQualifiedName(key))
	}
}

// keys are the labels that a selector is about.
func (s *labelSelector) keys() map[string]bool {
	keys := make(map[string]bool)
	if s == nil {
		return keys
	}
	for key := range s.MatchLabels {
		keys[key] = true
	}
	for _, r := range s.MatchExpressions {
		keys[r.Key] = true
	}
	return keys
}

// set makes a set of words.
func set(words []string) map[string]bool {
	all := make(map[string]bool, len(words))
	for _, w := range words {
		all[w] = true
	}
	return all
}
