package reconcile

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// remembered returns a pod as it can be kept from its record alone. The record holds what
// was resolved and not what was missing then, so that what the VM does not hold already is
// taken to be missing where its values cannot be told.
func remembered(status *schema.PodStatus) *schema.Pod {
	pod := *status.Spec
	v := view{pod: &pod, status: status}
	written := readEnvironments(pod.Manifest)
	pod.InitContainers = v.rememberedContainers(pod.InitContainers, written)
	pod.Containers = v.rememberedContainers(pod.Containers, written)
	pod.Volumes = slices.Clone(pod.Volumes)
	for i := range pod.Volumes {
		w := &pod.Volumes[i]
		if seen := findVolume(status, w.Name); seen == nil || seen.Digest != w.Digest() {
			w.Missing = append(slices.Clone(w.Missing), unrecorded(w)...)
		}
	}
	return &pod
}

func (v *view) rememberedContainers(list []schema.Container, written map[string]environment) []schema.Container {
	list = slices.Clone(list)
	for i := range list {
		if c := &list[i]; v.current(c) == nil {
			c.Missing = append(slices.Clone(c.Missing), written[c.Name].unrecorded(c)...)
		}
	}
	return list
}

// environment is what the manifest of a pod says of a container's variables that are taken
// from documents.
type environment struct {
	Name string `json:"name"`
	Env  []struct {
		Name      string `json:"name"`
		ValueFrom struct {
			ConfigMap *reference `json:"configMapKeyRef"`
			Secret    *reference `json:"secretKeyRef"`
		} `json:"valueFrom"`
	} `json:"env"`
	EnvFrom []struct {
		ConfigMap *reference `json:"configMapRef"`
		Secret    *reference `json:"secretRef"`
	} `json:"envFrom"`
}

// reference names a document.
type reference struct {
	Name     string `json:"name"`
	Optional bool   `json:"optional"`
}

// readEnvironments reads the environments of a pod's containers, by name. A record without
// a manifest has none that can be read.
func readEnvironments(manifest json.RawMessage) map[string]environment {
	var pod struct {
		Spec struct {
			InitContainers []environment `json:"initContainers"`
			Containers     []environment `json:"containers"`
		} `json:"spec"`
	}
	if json.Unmarshal(manifest, &pod) != nil {
		return nil
	}
	byName := make(map[string]environment)
	for _, e := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		byName[e.Name] = e
	}
	return byName
}

// unrecorded says which variables of the manifest the record of a container does not hold.
// A document of which all variables are taken has given some, if it was there.
func (e environment) unrecorded(c *schema.Container) (words []string) {
	has := func(is func(schema.EnvVar) bool) bool { return slices.ContainsFunc(c.Env, is) }
	for _, v := range e.Env {
		from := documentOf(v.ValueFrom.ConfigMap, v.ValueFrom.Secret)
		if from != nil && !has(func(r schema.EnvVar) bool { return r.Name == v.Name }) {
			words = append(words, fmt.Sprintf("the value of env %s (%s), which is not recorded", v.Name, sourceName(from)))
		}
	}
	for _, v := range e.EnvFrom {
		from := documentOf(v.ConfigMap, v.Secret)
		same := func(r schema.EnvVar) bool {
			return r.From != nil && r.From.ConfigMap == from.ConfigMap && r.From.Secret == from.Secret
		}
		if from != nil && !has(same) {
			words = append(words, fmt.Sprintf("the variables of %s, which are not recorded", sourceName(from)))
		}
	}
	return words
}

// documentOf is the document that has to be there, nil when none has.
func documentOf(configMap, secret *reference) *schema.ValueSource {
	switch {
	case configMap != nil && !configMap.Optional:
		return &schema.ValueSource{ConfigMap: configMap.Name}
	case secret != nil && !secret.Optional:
		return &schema.ValueSource{Secret: secret.Name}
	default:
		return nil
	}
}

// unrecorded says what the record of a volume leaves open.
func unrecorded(w *schema.Volume) (words []string) {
	if w.Claim != nil && w.Claim.SizeBytes == 0 {
		return []string{"the size of its claim, which is not recorded"}
	}
	if w.Files == nil {
		return nil
	}
	for _, s := range w.Files.Sources {
		name := sourceName(&schema.ValueSource{ConfigMap: s.ConfigMap, Secret: s.Secret})
		if name == "" || s.Optional {
			continue
		}
		if len(s.Items) == 0 && len(w.Files.Files) == 0 {
			words = append(words, "the files of "+name+", which are not recorded")
		}
		for _, item := range s.Items {
			if !slices.ContainsFunc(w.Files.Files, func(f schema.File) bool { return f.Path == path.Clean(item.Path) }) {
				words = append(words, item.Path+" of "+name+", which is not recorded")
			}
		}
	}
	return words
}
