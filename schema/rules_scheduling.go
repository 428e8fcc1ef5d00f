package schema

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"
)

// schedulingRules are those of what has no effect on one machine: a mistake in it would be
// one in a cluster too.
func (d document) schedulingRules(s *podSpec, p fieldPath) {
	d.labels(s.NodeSelector, p.key("nodeSelector"))
	d.objectName(s.NodeName, p.key("nodeName"))
	d.objectName(s.ServiceAccountName, p.key("serviceAccountName"))
	d.objectName(s.PriorityClassName, p.key("priorityClassName"))
	d.objectName(s.RuntimeClassName, p.key("runtimeClassName"))
	for i, gate := range s.ReadinessGates {
		d.all(p.key("readinessGates").index(i).key("conditionType"), gate.ConditionType, validation.IsQualifiedName(gate.ConditionType))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Overhead)) {
		d.quantity(s.Overhead[name], p.key("overhead").key(name))
	}
	d.affinityRules(&s.Affinity, p.key("affinity"))
	for i, t := range s.Tolerations {
		d.tolerationRules(t, p.key("tolerations").index(i))
	}
	for i, t := range s.TopologySpreadConstraints {
		d.spreadRules(t, p.key("topologySpreadConstraints").index(i))
	}
}

func (d document) tolerationRules(t toleration, p fieldPath) {
	if t.Key != "" {
		d.all(p.key("key"), t.Key, validation.IsQualifiedName(t.Key))
	}
	switch at := p.key("operator"); {
	case t.Operator != "" && t.Operator != "Equal" && t.Operator != "Exists":
		d.oneOf(t.Operator, []string{"Equal", "Exists"}, at)
	case t.Key == "" && t.Operator != "Exists":
		d.invalid(at, "%q: operator must be Exists when `key` is empty, which means \"match all values and all keys\"", t.Operator)
	case t.Operator == "Exists" && t.Value != "":
		d.invalid(at, "value must be empty when `operator` is 'Exists'")
	case t.Operator != "Exists":
		d.all(at, t.Value, validation.IsValidLabelValue(t.Value))
	}
	if t.Effect != "" {
		d.oneOf(t.Effect, []string{"NoSchedule", "PreferNoSchedule", "NoExecute"}, p.key("effect"))
	}
	if t.TolerationSeconds != nil && t.Effect != "NoExecute" {
		d.invalid(p.key("effect"), "effect must be 'NoExecute' when `tolerationSeconds` is set")
	}
}

func (d document) spreadRules(t topologySpread, p fieldPath) {
	if t.MaxSkew <= 0 {
		d.invalid(p.key("maxSkew"), "must be greater than zero, is %d", t.MaxSkew)
	}
	if t.TopologyKey == "" {
		d.invalid(p.key("topologyKey"), "required: can not be empty")
	} else {
		d.all(p.key("topologyKey"), t.TopologyKey, validation.IsQualifiedName(t.TopologyKey))
	}
	d.oneOf(t.WhenUnsatisfiable, []string{"DoNotSchedule", "ScheduleAnyway"}, p.key("whenUnsatisfiable"))
	if t.MinDomains != nil && *t.MinDomains <= 0 {
		d.invalid(p.key("minDomains"), "must be greater than zero, is %d", *t.MinDomains)
	}
	d.selectorRules(t.LabelSelector, p.key("labelSelector"))
}

// labels demands keys and values of labels.
func (d document) labels(labels map[string]string, p fieldPath) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		d.all(p, key, validation.IsQualifiedName(key))
		d.all(p, labels[key], validation.IsValidLabelValue(labels[key]))
	}
}

// operatorRules are those of an operator that all selectors have.
func (d document) operatorRules(r requirement, p fieldPath) {
	switch r.Operator {
	case "In", "NotIn":
		if len(r.Values) == 0 {
			d.invalid(p.key("values"), "required: must be specified when `operator` is 'In' or 'NotIn'")
		}
	case "Exists", "DoesNotExist":
		if len(r.Values) > 0 {
			d.invalid(p.key("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
		}
	default:
		d.invalid(p.key("operator"), "%q: not a valid selector operator", shorten(r.Operator))
	}
}

// selectorRules are those of a label selector.
func (d document) selectorRules(s *labelSelector, p fieldPath) {
	if s == nil {
		return
	}
	d.labels(s.MatchLabels, p.key("matchLabels"))
	for i, r := range s.MatchExpressions {
		at := p.key("matchExpressions").index(i)
		d.operatorRules(r, at)
		d.all(at.key("key"), r.Key, validation.IsQualifiedName(r.Key))
		for j, value := range r.Values {
			d.all(at.key("values").index(j), value, validation.IsValidLabelValue(value))
		}
	}
}
