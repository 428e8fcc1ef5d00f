package schema

import (
	"fmt"
	"slices"
)

// Resolve returns the pods with what their references stand for filled in: the values of
// variables, the files of volumes, the sizes of claims. What no document gives is listed
// in the Missing of the container or volume that needs it. Values that are known only with
// a VM (RuntimeFields) stay references.
//
// The pods given are not changed; what is returned shares memory with them, and a pod that
// refers to nothing is the one that was given. Of two documents of one name and kind the
// last counts.
func Resolve(pods []*Pod, data []DataDocument, claims []ClaimDocument) []*Pod {
	r := resolver{data: make(map[DocumentName]*DataDocument, len(data)), claims: make(map[Ref]int64, len(claims))}
	for i := range data {
		r.data[data[i].Document()] = &data[i]
	}
	for i := range claims {
		r.claims[claims[i].Ref] = claims[i].SizeBytes
	}
	out := slices.Clone(pods)
	for i, p := range out {
		if p.refers() {
			resolved := *p
			r.pod(&resolved)
			out[i] = &resolved
		}
	}
	return out
}

// resolver knows the documents.
type resolver struct {
	data   map[DocumentName]*DataDocument
	claims map[Ref]int64
}

// refers tells whether something of a pod is to be resolved.
func (p *Pod) refers() bool {
	return slices.ContainsFunc(p.InitContainers, containerRefers) || slices.ContainsFunc(p.Containers, containerRefers) ||
		slices.ContainsFunc(p.Volumes, volumeRefers)
}

func containerRefers(c Container) bool {
	return len(c.EnvFrom) > 0 || slices.ContainsFunc(c.Env, func(e EnvVar) bool { return e.From != nil })
}

func volumeRefers(v Volume) bool { return v.Files != nil || v.Claim != nil }

// pod resolves a pod in place; lists that change are copied first.
func (r *resolver) pod(pod *Pod) {
	pod.InitContainers = r.containers(pod, pod.InitContainers)
	pod.Containers = r.containers(pod, pod.Containers)
	if !slices.ContainsFunc(pod.Volumes, volumeRefers) {
		return
	}
	pod.Volumes = slices.Clone(pod.Volumes)
	for i := range pod.Volumes {
		v := &pod.Volumes[i]
		switch {
		case v.Files != nil:
			r.files(pod, v)
		case v.Claim != nil && v.Claim.Name != "":
			r.claim(pod, v)
		}
	}
}

func (r *resolver) containers(pod *Pod, list []Container) []Container {
	if !slices.ContainsFunc(list, containerRefers) {
		return list
	}
	list = slices.Clone(list)
	for i := range list {
		if containerRefers(list[i]) {
			r.environment(pod, &list[i])
		}
	}
	return list
}

// claim gives a claim the size that its document says.
func (r *resolver) claim(pod *Pod, v *Volume) {
	name := DocumentName{Kind: KindClaim, Ref: Ref{Namespace: pod.Namespace, Name: v.Claim.Name}}
	v.Missing = nil
	size, ok := r.claims[name.Ref]
	if !ok {
		v.Missing = []string{name.String()}
	}
	claim := *v.Claim
	claim.SizeBytes = size
	v.Claim = &claim
}

// document finds what a source in a pod's namespace names; nil when there is none.
func (r *resolver) document(namespace, configMap, secret string) (DocumentName, *DataDocument) {
	name := DocumentName{Kind: KindConfigMap, Ref: Ref{Namespace: namespace, Name: configMap}}
	if secret != "" {
		name = DocumentName{Kind: KindSecret, Ref: Ref{Namespace: namespace, Name: secret}}
	}
	return name, r.data[name]
}

// keyOf says in words which key of a document is missing.
func keyOf(name DocumentName, key string) string { return fmt.Sprintf("%s: key %s", name, key) }
