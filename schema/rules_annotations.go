package schema

import (
	"maps"
	"slices"
	"strings"
)

// The annotations that Kubernetes once had for security profiles, and that it still checks.
const (
	seccompPodAnnotation       = "seccomp.security.alpha.kubernetes.io/pod"
	seccompContainerAnnotation = "container.seccomp.security.alpha.kubernetes.io/"
	apparmorAnnotation         = "container.apparmor.security.beta.kubernetes.io/"
	mirrorAnnotation           = "kubernetes.io/config.mirror"
)

// annotationRules are those of the annotations that mean something to Kubernetes.
func (d document) annotationRules(m podManifest) {
	p, names := fieldPath{"metadata", "annotations"}, m.Spec.names()
	for _, key := range slices.Sorted(maps.Keys(m.Metadata.Annotations)) {
		value := m.Metadata.Annotations[key]
		container, apparmor := strings.CutPrefix(key, apparmorAnnotation)
		switch {
		case key == seccompPodAnnotation || strings.HasPrefix(key, seccompContainerAnnotation):
			if !seccompValue(value) {
				d.invalid(p.child(key), "%q: must be a valid seccomp profile", shorten(value))
			}
		case apparmor && !names[container]:
			d.invalid(p.key(key), "%q: container not found", shorten(container))
		case apparmor && !apparmorValue(value):
			d.invalid(p.key(key), "invalid AppArmor profile name: %q", shorten(value))
		case key == mirrorAnnotation && m.Spec.NodeName == "":
			d.invalid(p.key(key), "must set spec.nodeName if mirror pod annotation is set")
		}
	}
	d.seccompMatch(m.Metadata.Annotations[seccompPodAnnotation], m.Spec.SecurityContext.SeccompProfile, fieldPath{"spec", "securityContext"})
	m.Spec.each(func(c *containerManifest, at fieldPath) {
		at = at.key("securityContext")
		d.seccompMatch(m.Metadata.Annotations[seccompContainerAnnotation+c.Name], c.SecurityContext.SeccompProfile, at)
		d.apparmorMatch(m.Metadata.Annotations[apparmorAnnotation+c.Name], first(c.SecurityContext.AppArmorProfile, m.Spec.SecurityContext.AppArmorProfile), at)
	})
}

// each calls do for every (init) container and the path to it.
func (s *podSpec) each(do func(c *containerManifest, at fieldPath)) {
	for i := range s.InitContainers {
		do(&s.InitContainers[i], fieldPath{"spec", "initContainers", i})
	}
	for i := range s.Containers {
		do(&s.Containers[i], fieldPath{"spec", "containers", i})
	}
}

// names are those of all containers.
func (s *podSpec) names() map[string]bool {
	names := make(map[string]bool)
	s.each(func(c *containerManifest, _ fieldPath) { names[c.Name] = true })
	return names
}

// annotated returns a profile that an annotation names, in the words of the fields.
func annotated(value string) (kind, file string) {
	file, isFile := strings.CutPrefix(value, "localhost/")
	switch {
	case isFile:
		return localhost, file
	case value == "unconfined":
		return "Unconfined", ""
	case value == "runtime/default" || value == "docker/default":
		return "RuntimeDefault", ""
	}
	return "", ""
}

func seccompValue(value string) bool {
	kind, file := annotated(value)
	return kind != "" && !strings.HasPrefix(file, "/") && !slices.Contains(strings.Split(file, "/"), "..")
}

func apparmorValue(value string) bool {
	kind, _ := annotated(value)
	return value == "" || kind != "" && value != "docker/default"
}

// seccompMatch: an annotation and the field must say the same.
func (d document) seccompMatch(value string, field *profile, p fieldPath) {
	kind, file := annotated(value)
	switch at := p.key("seccompProfile"); {
	case kind == "" || field == nil:
	case field.Type != kind:
		d.invalid(at.key("type"), "seccomp type in annotation and field must match")
	case kind == localhost && field.LocalhostProfile != nil && *field.LocalhostProfile != file:
		d.invalid(at.key("localhostProfile"), "seccomp profile in annotation and field must match")
	}
}

func (d document) apparmorMatch(value string, field *profile, p fieldPath) {
	kind, file := annotated(value)
	switch at := p.key("appArmorProfile"); {
	case kind == "" || field == nil:
	case field.Type != kind:
		d.invalid(at.key("type"), "apparmor type in annotation and field must match")
	case kind == localhost && field.LocalhostProfile != nil && *field.LocalhostProfile != file:
		d.invalid(at.key("localhostProfile"), "apparmor profile in annotation and field must match")
	}
}
