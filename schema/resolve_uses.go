package schema

// Documents returns the ConfigMaps, Secrets and claims that the pod's references name, each
// as often as they do: Resolve of the pod depends on these alone. A pod that was resolved
// has lost some of its references.
func (p *Pod) Documents() (names []DocumentName) {
	add := func(kind, name string) {
		if name != "" {
			names = append(names, DocumentName{Kind: kind, Ref: Ref{Namespace: p.Namespace, Name: name}})
		}
	}
	for _, list := range [][]Container{p.InitContainers, p.Containers} {
		for i := range list {
			for _, from := range list[i].EnvFrom {
				add(KindConfigMap, from.ConfigMap)
				add(KindSecret, from.Secret)
			}
			for _, v := range list[i].Env {
				if v.From != nil {
					add(KindConfigMap, v.From.ConfigMap)
					add(KindSecret, v.From.Secret)
				}
			}
		}
	}
	for i := range p.Volumes {
		if v := &p.Volumes[i]; v.Files != nil {
			for _, s := range v.Files.Sources {
				add(KindConfigMap, s.ConfigMap)
				add(KindSecret, s.Secret)
			}
		} else if v.Claim != nil {
			add(KindClaim, v.Claim.Name)
		}
	}
	return names
}
