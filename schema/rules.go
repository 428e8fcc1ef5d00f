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
	switch {
	case m.Metadata.Name != "":
		d.all(p.key("name"), m.Metadata.Name, validation.IsDNS1123Subdomain(m.Metadata.Name))
	case m.Metadata.GenerateName == "":
		d.invalid(p.key("name"), "required")
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
		d.all(append(p.key("annotations"), hiddenKey(key)), key, validation.IsQualifiedName(strings.ToLower(key)))
	}
	d.annotationRules(m)
}

// specRules are those of the pod's own fields.
func (d document) specRules(m podManifest) {
	s, p := &m.Spec, fieldPath{"spec"}
	d.osRule(s, p)
	d.podSecurityRules(s, p)
	d.nameRules(s, p)
	d.dnsRules(s, p)
	for i := range s.Volumes {
		d.projectedRules(s, &s.Volumes[i], p.key("volumes").index(i).key("projected"))
	}
}

// nameRules are those of the names that a pod goes by.
func (d document) nameRules(s *podSpec, p fieldPath) {
	const maxOverride = 64 // of a host name in Linux
	d.label(p.key("hostname"), s.Hostname)
	d.label(p.key("subdomain"), s.Subdomain)
	if s.HostnameOverride != "" {
		at := p.key("hostnameOverride")
		d.all(at, s.HostnameOverride, validation.IsDNS1123Subdomain(s.HostnameOverride))
		if len(s.HostnameOverride) > maxOverride {
			d.invalid(at, "must be no more than %d characters", maxOverride)
		}
		if s.SetHostnameAsFQDN {
			d.invalid(p.key("setHostnameAsFQDN"), "must be unset when `hostnameOverride` is set")
		}
		if s.HostNetwork {
			d.invalid(p.key("hostNetwork"), "must be unset when `hostnameOverride` is set")
		}
	}
	for i, alias := range s.HostAliases {
		at := p.key("hostAliases").index(i)
		if alias.IP != "" {
			d.ip(alias.IP, at.key("ip"))
		}
		for j, name := range alias.Hostnames {
			d.all(at.key("hostnames").index(j), name, validation.IsDNS1123Subdomain(name))
		}
	}
}

// podRules are those about names that must be unique or declared.
func (d document) podRules(pod *Pod, s *podSpec) {
	volumes := make(map[string]bool)
	ephemeral := make(map[string]bool)
	for i, v := range s.Volumes {
		at := fieldPath{"spec", "volumes", i, "name"}
		d.label(at, v.Name)
		if v.Name != "" && volumes[v.Name] {
			d.reportRule(RuleDuplicateEmptyDir, at, SeverityError, ClassInvalid, "two volumes are named %q", v.Name)
		}
		volumes[v.Name] = true
		if v.Ephemeral != nil {
			ephemeral[pod.Name+"-"+v.Name] = true
		}
	}
	for i, v := range s.Volumes {
		if c := v.PersistentVolumeClaim; c != nil && ephemeral[c.ClaimName] {
			d.invalid(fieldPath{"spec", "volumes", i, "persistentVolumeClaim", "claimName"},
				"%q: must not reference a PVC that gets created for an ephemeral volume", c.ClaimName)
		}
	}
	declared := slices.Collect(maps.Keys(volumes))
	names := make(map[string]bool)
	for i := range len(pod.InitContainers) - len(s.InitContainers) {
		names[pod.InitContainers[i].Name] = true // they clone gitRepo volumes
	}
	s.each(func(c *containerManifest, at fieldPath) {
		if c.Name != "" && names[c.Name] {
			d.reportRule(RuleDuplicateContainer, at.key("name"), SeverityError, ClassInvalid, "two containers are named %q", c.Name)
		}
		names[c.Name] = true
		for j, m := range c.VolumeMounts {
			d.declared(m.Name, volumes, declared, at.key("volumeMounts").index(j).key("name"))
		}
		for j, m := range c.VolumeDevices {
			d.declared(m.Name, volumes, declared, at.key("volumeDevices").index(j).key("name"))
		}
	})
}

// declared demands the name of a volume that there is.
func (d document) declared(name string, volumes map[string]bool, names []string, p fieldPath) {
	if name != "" && !volumes[name] {
		d.reportRule(RuleUndeclaredMount, p, SeverityError, ClassInvalid, "no volume is named %q%s", name, suggest(name, names))
	}
}

// label demands a name that is a DNS label, and so safe as a path segment. What is missing
// was reported before.
func (d document) label(p fieldPath, name string) {
	if name != "" {
		d.all(p, name, validation.IsDNS1123Label(name))
	}
}

func (d document) containerRules(c *Container, s *podSpec, m *containerManifest, p fieldPath) {
	d.label(p.key("name"), c.Name)
	d.image(c.Image, p.key("image"))
	d.containerSecurityRules(s, m, p.key("securityContext"))
	d.devicePathRules(m, p)
	for _, policy := range m.ResizePolicy {
		d.oneOf(policy.RestartPolicy, []string{"NotRequired", "RestartContainer"}, p.key("resizePolicy"))
		d.oneOf(policy.ResourceName, []string{"cpu", "memory"}, p.key("resizePolicy"))
	}
	if c.WorkingDir != "" && !path.IsAbs(c.WorkingDir) {
		d.invalid(p.key("workingDir"), "%q: must be an absolute path", shorten(c.WorkingDir)) // Kubernetes leaves it to the runtime, which fails
	}
	if c.TerminationMessagePath != "" && !path.IsAbs(c.TerminationMessagePath) {
		d.invalid(p.key("terminationMessagePath"), "%q: must be an absolute path", shorten(c.TerminationMessagePath)) // likewise
	}
	paths := make(map[string]bool)
	for i, v := range m.VolumeMounts {
		d.mountRules(v, m.SecurityContext.Privileged, p.key("volumeMounts").index(i), paths)
	}
}

func (d document) mountRules(m mountManifest, privileged bool, p fieldPath, paths map[string]bool) {
	clean := path.Clean(m.MountPath)
	switch {
	case m.MountPath == "":
	case !path.IsAbs(m.MountPath) || clean == "/" || strings.Contains(m.MountPath, ":"):
		d.invalid(p.key("mountPath"), "%q: must be an absolute path other than / and without ':'", shorten(m.MountPath))
	case paths[clean]:
		d.invalid(p.key("mountPath"), "%q: two volumes are mounted there", shorten(m.MountPath))
	}
	paths[clean] = true
	d.within(m.SubPath, p.key("subPath"))
	d.within(m.SubPathExpr, p.key("subPathExpr"))
	if m.SubPath != "" && m.SubPathExpr != "" {
		d.invalid(p.key("subPathExpr"), "subPathExpr and subPath are mutually exclusive")
	}
	if m.MountPropagation == "Bidirectional" && !privileged {
		d.invalid(p.key("mountPropagation"), "Bidirectional mount propagation is available only to privileged containers")
	}
	if m.RecursiveReadOnly == "IfPossible" || m.RecursiveReadOnly == "Enabled" {
		switch at := p.key("recursiveReadOnly"); {
		case !m.ReadOnly:
			d.invalid(at, "may only be specified when readOnly is true")
		case m.MountPropagation != "" && m.MountPropagation != "None":
			d.invalid(at, "may only be specified when mountPropagation is None or not specified")
		}
	}
}

// within demands a path that stays within a volume.
func (d document) within(file string, p fieldPath) {
	if file != "" && (path.IsAbs(file) || slices.Contains(strings.Split(file, "/"), "..")) {
		d.invalid(p, "%q: must be a relative path without '..'", shorten(file))
	}
}

// initContainerRules are those of an init container. What only makes sense for one that
// keeps running is for sidecars.
func (d document) initContainerRules(pod *Pod, m *containerManifest, p fieldPath) {
	if m.RestartPolicy == string(RestartAlways) {
		return
	}
	const only = "may not be set for init containers without restartPolicy=Always"
	for _, field := range []struct {
		key string
		set bool
	}{
		{"lifecycle", m.Lifecycle != nil && (m.Lifecycle.PostStart != nil || m.Lifecycle.PreStop != nil)},
		{"livenessProbe", m.LivenessProbe != nil},
		{"readinessProbe", m.ReadinessProbe != nil}, {"startupProbe", m.StartupProbe != nil},
	} {
		if field.set {
			d.invalid(p.key(field.key), only)
		}
	}
	retried := string(RestartOnFailure)
	if pod.RestartPolicy == RestartNever {
		retried = string(RestartNever)
	}
	d.restartRule(m.RestartPolicy, retried, p)
}

// restartRule refuses a restart policy other than what follows from the pod's.
func (d document) restartRule(written, policy string, p fieldPath) {
	known := []string{string(RestartAlways), string(RestartNever), string(RestartOnFailure)}
	if written != "" && written != policy && slices.Contains(known, written) {
		d.report(p.key("restartPolicy"), SeverityError, ClassUnsupported,
			"not supported: the pod's restartPolicy is that of its containers, and makes this one %s", policy)
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
	case d.opt.RequireDigest && ByTag(image):
		d.reportRule(RuleImageByTag, p, SeverityError, ClassInvalid,
			"%q: is named by tag only, and digests are required: write NAME[:TAG]@sha256:... (firkin-reconcile image ls shows those of images that are here)", shorten(image))
	}
}
