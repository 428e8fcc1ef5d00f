package schema

import (
	"encoding/json"
	"strings"
)

// The supported part of Kubernetes' v1 Pod, as it stands in manifests.
type (
	podManifest struct {
		Metadata struct {
			Name        string            `json:"name"`
			Namespace   string            `json:"namespace"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
		Spec podSpec `json:"spec"`
	}
	podSpec struct {
		Volumes                       []volume            `json:"volumes"`
		InitContainers                []containerManifest `json:"initContainers"`
		Containers                    []containerManifest `json:"containers"`
		RestartPolicy                 string              `json:"restartPolicy"`
		TerminationGracePeriodSeconds *int64              `json:"terminationGracePeriodSeconds"`
		Hostname                      string              `json:"hostname"`
	}
	volume struct {
		Name     string `json:"name"`
		EmptyDir *struct {
			Medium    Medium   `json:"medium"`
			SizeLimit quantity `json:"sizeLimit"`
		} `json:"emptyDir"`
	}
	containerManifest struct {
		Name            string        `json:"name"`
		Image           string        `json:"image"`
		ImagePullPolicy PullPolicy    `json:"imagePullPolicy"`
		Command         []string      `json:"command"`
		Args            []string      `json:"args"`
		Env             []EnvVar      `json:"env"`
		WorkingDir      string        `json:"workingDir"`
		VolumeMounts    []volumeMount `json:"volumeMounts"`
		Resources       struct {
			Limits   map[string]quantity `json:"limits"`
			Requests map[string]quantity `json:"requests"`
		} `json:"resources"`
	}
	volumeMount struct {
		Name      string `json:"name"`
		MountPath string `json:"mountPath"`
		ReadOnly  bool   `json:"readOnly"`
		SubPath   string `json:"subPath"`
	}
)

// quantity is a resource amount as written: a text or a number.
type quantity string

// UnmarshalJSON takes the text as it is written.
func (q *quantity) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(q))
	}
	*q = quantity(b)
	return nil
}

// Kubernetes' defaults.
const (
	defaultGraceSeconds = 30
	maxHostname         = 63
)

// convert turns the supported part of a manifest into a pod, and reports what breaks a
// rule that the JSON Schema cannot say.
func (d document) convert(known map[string]any) *Pod {
	var m podManifest
	if err := decode(known, &m); err != nil && !d.failed() {
		d.invalid(nil, "%v", err) // the schema let something through that has no place
	}
	spec := fieldPath{"spec"}
	pod := &Pod{
		Ref:           Ref{Namespace: m.Metadata.Namespace, Name: m.Metadata.Name},
		Labels:        m.Metadata.Labels,
		Annotations:   m.Metadata.Annotations,
		Hostname:      m.Spec.Hostname,
		RestartPolicy: RestartPolicy(m.Spec.RestartPolicy),
		GraceSeconds:  defaultGraceSeconds,
	}
	if pod.Namespace == "" {
		pod.Namespace = DefaultNamespace
	}
	if pod.RestartPolicy == "" {
		pod.RestartPolicy = RestartAlways
	}
	if m.Spec.TerminationGracePeriodSeconds != nil {
		pod.GraceSeconds = *m.Spec.TerminationGracePeriodSeconds
	}
	if pod.Hostname == "" {
		pod.Hostname = strings.TrimRight(pod.Name[:min(len(pod.Name), maxHostname)], "-.")
	}
	d.metadataRules(m)
	for i, v := range m.Spec.Volumes {
		pod.EmptyDirs = append(pod.EmptyDirs, d.emptyDir(v, spec.key("volumes").index(i)))
	}
	for i := range m.Spec.InitContainers {
		pod.InitContainers = append(pod.InitContainers, d.container(&m.Spec.InitContainers[i], spec.key("initContainers").index(i)))
	}
	for i := range m.Spec.Containers {
		pod.Containers = append(pod.Containers, d.container(&m.Spec.Containers[i], spec.key("containers").index(i)))
	}
	d.podRules(pod)
	pod.VM = d.vm(pod)
	return pod
}

// emptyDir converts one volume. A volume without a source is an emptyDir, as in Kubernetes.
func (d document) emptyDir(v volume, p fieldPath) EmptyDir {
	e := EmptyDir{Name: v.Name}
	if v.EmptyDir != nil {
		e.Medium = v.EmptyDir.Medium
		e.SizeLimitBytes = d.bytes(v.EmptyDir.SizeLimit, p.key("emptyDir").key("sizeLimit"))
	}
	return e
}

func (d document) container(m *containerManifest, p fieldPath) Container {
	c := Container{
		Name:            m.Name,
		Image:           m.Image,
		ImagePullPolicy: m.ImagePullPolicy,
		Command:         m.Command,
		Args:            m.Args,
		Env:             m.Env,
		WorkingDir:      m.WorkingDir,
	}
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = defaultPull(c.Image)
	}
	for _, v := range m.VolumeMounts {
		c.Mounts = append(c.Mounts, VolumeMount{Volume: v.Name, Path: v.MountPath, ReadOnly: v.ReadOnly, SubPath: v.SubPath})
	}
	c.Resources = d.resources(m, p.key("resources"))
	d.containerRules(&c, p)
	return c
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
