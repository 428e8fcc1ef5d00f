package schema

// What schedulers look at, as it stands in manifests: it is checked and has no effect.
type (
	affinity struct {
		NodeAffinity struct {
			Required *struct {
				NodeSelectorTerms []nodeTerm `json:"nodeSelectorTerms"`
			} `json:"requiredDuringSchedulingIgnoredDuringExecution"`
			Preferred []struct {
				Weight     int32    `json:"weight"`
				Preference nodeTerm `json:"preference"`
			} `json:"preferredDuringSchedulingIgnoredDuringExecution"`
		} `json:"nodeAffinity"`
		PodAffinity     podAffinity `json:"podAffinity"`
		PodAntiAffinity podAffinity `json:"podAntiAffinity"`
	}
	nodeTerm struct {
		MatchExpressions []requirement `json:"matchExpressions"`
		MatchFields      []requirement `json:"matchFields"`
	}
	requirement struct {
		Key      string   `json:"key"`
		Operator string   `json:"operator"`
		Values   []string `json:"values"`
	}
	podAffinity struct {
		Required  []podTerm `json:"requiredDuringSchedulingIgnoredDuringExecution"`
		Preferred []struct {
			Weight int32   `json:"weight"`
			Term   podTerm `json:"podAffinityTerm"`
		} `json:"preferredDuringSchedulingIgnoredDuringExecution"`
	}
	podTerm struct {
		LabelSelector     *labelSelector `json:"labelSelector"`
		NamespaceSelector *labelSelector `json:"namespaceSelector"`
		Namespaces        []string       `json:"namespaces"`
		TopologyKey       string         `json:"topologyKey"`
		MatchLabelKeys    []string       `json:"matchLabelKeys"`
		MismatchLabelKeys []string       `json:"mismatchLabelKeys"`
	}
	labelSelector struct {
		MatchLabels      map[string]string `json:"matchLabels"`
		MatchExpressions []requirement     `json:"matchExpressions"`
	}
	toleration struct {
		Key               string `json:"key"`
		Operator          string `json:"operator"`
		Value             string `json:"value"`
		Effect            string `json:"effect"`
		TolerationSeconds *int64 `json:"tolerationSeconds"`
	}
	topologySpread struct {
		MaxSkew           int32          `json:"maxSkew"`
		TopologyKey       string         `json:"topologyKey"`
		WhenUnsatisfiable string         `json:"whenUnsatisfiable"`
		LabelSelector     *labelSelector `json:"labelSelector"`
		MinDomains        *int32         `json:"minDomains"`
	}
)
