package schema

// environment converts env and envFrom.
func (d document) environment(c *Container, s *podSpec, m *containerManifest, p fieldPath) {
	for _, e := range m.EnvFrom {
		switch {
		case e.ConfigMapRef != nil:
			c.EnvFrom = append(c.EnvFrom, EnvFrom{Prefix: e.Prefix, ConfigMap: e.ConfigMapRef.Name, Optional: e.ConfigMapRef.Optional})
		case e.SecretRef != nil:
			c.EnvFrom = append(c.EnvFrom, EnvFrom{Prefix: e.Prefix, Secret: e.SecretRef.Name, Optional: e.SecretRef.Optional})
		}
	}
	for _, e := range m.Env {
		v := EnvVar{Name: e.Name, Value: e.Value, From: e.ValueFrom.source()}
		if v.From != nil && v.From.Field == "spec.serviceAccountName" {
			v.Value, v.From = s.account(), nil
		}
		c.Env = append(c.Env, v)
	}
	d.envRules(m, p)
}

// account is the name of the pod's service account, which is nothing but a name here.
func (s *podSpec) account() string {
	switch {
	case s.ServiceAccountName != "":
		return s.ServiceAccountName
	case s.ServiceAccount != "":
		return s.ServiceAccount
	}
	return "default"
}

// source converts where a variable's value comes from, nil when that is nowhere.
func (v *valueFrom) source() *ValueSource {
	switch {
	case v == nil:
		return nil
	case v.FieldRef != nil:
		return v.FieldRef.source()
	case v.ResourceFieldRef != nil:
		return v.ResourceFieldRef.source()
	case v.ConfigMapKeyRef != nil:
		return &ValueSource{ConfigMap: v.ConfigMapKeyRef.Name, Key: v.ConfigMapKeyRef.Key, Optional: v.ConfigMapKeyRef.Optional}
	case v.SecretKeyRef != nil:
		return &ValueSource{Secret: v.SecretKeyRef.Name, Key: v.SecretKeyRef.Key, Optional: v.SecretKeyRef.Optional}
	}
	return nil
}

func (f *fieldRef) source() *ValueSource { return &ValueSource{Field: f.FieldPath} }

func (r *resourceRef) source() *ValueSource {
	v := &ValueSource{Resource: r.Resource, Container: r.ContainerName}
	if r.Divisor != "0" { // as kubectl prints it
		v.Divisor = string(r.Divisor)
	}
	return v
}
