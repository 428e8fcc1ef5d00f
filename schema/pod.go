// Package schema holds the words of firkin-reconcile: what a pod is (desired),
// what a pod was seen to be (actual), and how a manifest becomes one.
//
// It does no I/O and imports none of our other packages.
package schema

import (
	"cmp"
	"encoding/json"
	"path"
)

// DefaultNamespace is the namespace of a manifest that names none.
const DefaultNamespace = "default"

// Ref names a pod on this host.
type Ref struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String returns "namespace/name".
func (r Ref) String() string { return r.Namespace + "/" + r.Name }

// Compare orders refs by namespace, then name.
func (r Ref) Compare(o Ref) int {
	return cmp.Or(cmp.Compare(r.Namespace, o.Namespace), cmp.Compare(r.Name, o.Name))
}

// RestartPolicy says what happens to a container that ended; the values are Kubernetes'.
type RestartPolicy string

// The restart policies of Kubernetes' PodSpec.
const (
	RestartAlways    RestartPolicy = "Always"
	RestartOnFailure RestartPolicy = "OnFailure"
	RestartNever     RestartPolicy = "Never"
)

// PullPolicy says when an image is fetched; the values are Kubernetes'.
type PullPolicy string

// The image pull policies of Kubernetes' Container.
const (
	PullAlways       PullPolicy = "Always"
	PullIfNotPresent PullPolicy = "IfNotPresent"
	PullNever        PullPolicy = "Never"
)

// Medium is what an emptyDir is made of.
type Medium string

// The emptyDir media we know: a directory in the pod store, or one tmpfs for the pod.
const (
	MediumDisk   Medium = ""
	MediumMemory Medium = "Memory"
)

// Pod is one desired pod with every default filled in.
//
// Its JSON form is what is kept in the VM to explain the pod later; new fields
// must be omitempty so that digests of older specs stay what they were.
type Pod struct {
	Ref
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Hostname    string            `json:"hostname,omitempty"`
	// RestartPolicy is never empty.
	RestartPolicy RestartPolicy `json:"restartPolicy"`
	// GraceSeconds is terminationGracePeriodSeconds, >= 0, default 30.
	GraceSeconds   int64       `json:"graceSeconds"`
	InitContainers []Container `json:"initContainers,omitempty"`
	Containers     []Container `json:"containers"`
	EmptyDirs      []EmptyDir  `json:"emptyDirs,omitempty"`
	VM             VM          `json:"vm"`

	// Source is the path given by the user that this pod came from (absolute);
	// pruning touches only pods of the same source.
	Source string `json:"source,omitempty"`
	Origin Origin `json:"origin"`
	// Manifest is the Kubernetes v1 Pod as JSON, as the user wrote it.
	Manifest json.RawMessage `json:"manifest,omitempty"`
}

// Origin is where a pod's manifest stands. It is explanation, never part of a digest.
type Origin struct {
	// File is absolute; relative image paths are relative to its directory.
	File string `json:"file,omitempty"`
	// Line is the first line of the document, from 1.
	Line int `json:"line,omitempty"`
	// Commit is the git commit of the checkout, "" outside one.
	Commit string `json:"commit,omitempty"`
}

// VM is what only a new virtual machine can satisfy.
type VM struct {
	// CPUs is the number of virtual CPUs, >= 1.
	CPUs int `json:"cpus"`
	// MemoryBytes is the VM's RAM.
	MemoryBytes int64 `json:"memoryBytes"`
	// StoreBytes is the size of the pod store disk (sparse on the host).
	StoreBytes int64 `json:"storeBytes"`
}

// Container is one container or init container with every default filled in.
type Container struct {
	Name            string         `json:"name"`
	Image           string         `json:"image"`
	ImagePullPolicy PullPolicy     `json:"imagePullPolicy,omitempty"`
	Command         []string       `json:"command,omitempty"`
	Args            []string       `json:"args,omitempty"`
	Env             []EnvVar       `json:"env,omitempty"`
	WorkingDir      string         `json:"workingDir,omitempty"`
	Mounts          []VolumeMount  `json:"mounts,omitempty"`
	Resources       ResourceLimits `json:"resources,omitzero"`
}

// EnvVar is one environment variable; later ones may refer to earlier ones as $(NAME).
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}

// VolumeMount mounts an emptyDir into a container.
type VolumeMount struct {
	Volume   string `json:"volume"`
	Path     string `json:"path"`
	ReadOnly bool   `json:"readOnly,omitempty"`
	SubPath  string `json:"subPath,omitempty"`
}

// ResourceLimits are a container's cgroup limits; 0 means none given.
type ResourceLimits struct {
	CPURequestMilli    int64 `json:"cpuRequestMilli,omitempty"`
	CPULimitMilli      int64 `json:"cpuLimitMilli,omitempty"`
	MemoryRequestBytes int64 `json:"memoryRequestBytes,omitempty"`
	MemoryLimitBytes   int64 `json:"memoryLimitBytes,omitempty"`
}

// EmptyDir is a volume that lives as long as its pod.
type EmptyDir struct {
	Name   string `json:"name"`
	Medium Medium `json:"medium,omitempty"`
	// SizeLimitBytes is 0 when no limit was given.
	SizeLimitBytes int64 `json:"sizeLimitBytes,omitempty"`
}

// Container returns the (init) container of that name, or nil.
func (p *Pod) Container(name string) *Container {
	for _, list := range [][]Container{p.InitContainers, p.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// EmptyDir returns the emptyDir of that name, or nil.
func (p *Pod) EmptyDir(name string) *EmptyDir {
	for i := range p.EmptyDirs {
		if p.EmptyDirs[i].Name == name {
			return &p.EmptyDirs[i]
		}
	}
	return nil
}

// Dir is the directory that relative image paths of the pod are relative to.
func (p *Pod) Dir() string { return path.Dir(p.Origin.File) }
