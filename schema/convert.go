package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Kubernetes' defaults.
const (
	defaultGraceSeconds = 30
	maxHostname         = 63
)

// convert turns a manifest into a pod, and reports what breaks a rule that the JSON Schema
// cannot say.
func (d document) convert(known []byte) *Pod {
	var m podManifest
	if err := json.Unmarshal(known, &m); err != nil && !d.failed() {
		d.invalid(nil, "%v", err) // the schema let something through that has no place
	}
	s, spec := &m.Spec, fieldPath{"spec"}
	pod := &Pod{
		Ref:                   Ref{Namespace: m.Metadata.Namespace, Name: m.Metadata.Name},
		Labels:                m.Metadata.Labels,
		Annotations:           m.Metadata.Annotations,
		RestartPolicy:         RestartPolicy(s.RestartPolicy),
		GraceSeconds:          defaultGraceSeconds,
		ActiveDeadlineSeconds: s.ActiveDeadlineSeconds,
	}
	if pod.Namespace == "" {
		pod.Namespace = DefaultNamespace
	}
	if pod.RestartPolicy == "" {
		pod.RestartPolicy = RestartAlways
	}
	if s.TerminationGracePeriodSeconds != nil {
		pod.GraceSeconds = *s.TerminationGracePeriodSeconds
	}
	pod.Hostname = hostname(pod.Name, s)
	pod.Security = podSecurityOf(s)
	d.metadataRules(m)
	for i := range s.Volumes {
		d.volume(pod, &s.Volumes[i], spec.key("volumes").index(i))
	}
	for i := range s.InitContainers {
		c := d.container(pod, s, &s.InitContainers[i], spec.key("initContainers").index(i))
		d.initContainerRules(pod, &s.InitContainers[i], spec.key("initContainers").index(i))
		c.Sidecar = s.InitContainers[i].RestartPolicy == string(RestartAlways)
		pod.InitContainers = append(pod.InitContainers, c)
	}
	for i := range s.Containers {
		d.restartRule(s.Containers[i].RestartPolicy, string(pod.RestartPolicy), spec.key("containers").index(i))
		pod.Containers = append(pod.Containers, d.container(pod, s, &s.Containers[i], spec.key("containers").index(i)))
	}
	pod.Network = d.network(s, spec)
	d.podRules(pod, s)
	d.specRules(m)
	d.schedulingRules(s, spec)
	pod.VM = d.vm(pod, s)
	return pod
}

// hostname is what the pod's machine is called.
func hostname(pod string, s *podSpec) string {
	switch {
	case s.HostnameOverride != "":
		return s.HostnameOverride
	case s.Hostname != "":
		return s.Hostname
	}
	return strings.TrimRight(pod[:min(len(pod), maxHostname)], "-.")
}

// container converts one (init) container.
func (d document) container(pod *Pod, s *podSpec, m *containerManifest, p fieldPath) Container {
	c := Container{
		Name:                       m.Name,
		Image:                      m.Image,
		ImagePullPolicy:            m.ImagePullPolicy,
		Command:                    m.Command,
		Args:                       m.Args,
		WorkingDir:                 m.WorkingDir,
		TerminationMessageFallback: m.TerminationMessagePolicy == "FallbackToLogsOnError",
		Stdin:                      m.Stdin,
		StdinOnce:                  m.StdinOnce,
		TTY:                        m.TTY,
	}
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = defaultPull(c.Image)
	}
	if m.TerminationMessagePath != defaultMessagePath {
		c.TerminationMessagePath = m.TerminationMessagePath
	}
	d.environment(&c, s, m, p)
	for _, v := range m.VolumeMounts {
		c.Mounts = append(c.Mounts, mount(v))
	}
	c.Resources = d.resources(&m.Resources, p.key("resources"), containerResources())
	d.handlers(&c, pod.GraceSeconds, m, p)
	c.Unavailable = slices.Concat(unavailable(&m.Resources), devices(m), c.portless())
	c.Security = d.security(s, m, p.key("securityContext"))
	d.containerRules(&c, s, m, p)
	return c
}

// defaultMessagePath is where a container writes why it ends, unless it says otherwise.
const defaultMessagePath = "/dev/termination-log"

// mount converts one mount.
func mount(m mountManifest) VolumeMount {
	v := VolumeMount{
		Volume: m.Name, Path: m.MountPath, ReadOnly: m.ReadOnly, SubPath: m.SubPath, SubPathExpr: m.SubPathExpr,
		RecursiveReadOnly: m.RecursiveReadOnly == "Enabled" || m.RecursiveReadOnly == "IfPossible",
	}
	if m.MountPropagation != "None" {
		v.Propagation = m.MountPropagation
	}
	return v
}

// devices says which raw block devices a container asks for: none can be given.
func devices(m *containerManifest) []string {
	var list []string
	for _, v := range m.VolumeDevices {
		list = append(list, fmt.Sprintf("volume %s as the block device %s", v.Name, v.DevicePath))
	}
	return list
}

// defaultPull is Kubernetes': Always for the tag latest or none, else IfNotPresent.
func defaultPull(image string) PullPolicy {
	if transport(image) != "" || strings.Contains(image, "@") {
		return PullIfNotPresent
	}
	tag := image[strings.LastIndexByte(image, '/')+1:]
	if _, tag, ok := strings.Cut(tag, ":"); ok && tag != "latest" {
		return PullIfNotPresent
	}
	return PullAlways
}
