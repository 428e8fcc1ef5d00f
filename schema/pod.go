// Package schema holds the words of firkin-reconcile: what a pod is (desired),
// what a pod was seen to be (actual), and how a manifest becomes one.
//
// It does no I/O and imports none of our other packages.
package schema

import (
	"encoding/json"
	"path"
	"strings"
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
	if n := strings.Compare(r.Namespace, o.Namespace); n != 0 {
		return n
	}
	return strings.Compare(r.Name, o.Name)
}

// RestartPolicy says what happens to a container that ended; the values are Kubernetes'.
type RestartPolicy string

// The restart policies of Kubernetes' PodSpec.
const (
	RestartAlways    RestartPolicy = "Always"
	RestartOnFailure RestartPolicy = "OnFailure"
	RestartNever     RestartPolicy = "Never"
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
	GraceSeconds int64 `json:"graceSeconds"`
	// ActiveDeadlineSeconds bounds how long the pod may run from its start; 0: no bound.
	ActiveDeadlineSeconds int64       `json:"activeDeadlineSeconds,omitempty"`
	InitContainers        []Container `json:"initContainers,omitempty"`
	Containers            []Container `json:"containers"`
	EmptyDirs             []EmptyDir  `json:"emptyDirs,omitempty"`
	// Volumes are those that are no emptyDirs.
	Volumes  []Volume    `json:"volumes,omitempty"`
	Security PodSecurity `json:"security,omitzero"`
	Network  Network     `json:"network,omitzero"`
	// Job is set when the pod stands for a part of a Job.
	Job *Job `json:"job,omitempty"`
	VM  VM   `json:"vm"`

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
	// Untrusted: the pod may attack its VM, and is started only where that is a boundary.
	Untrusted bool `json:"untrusted,omitempty"`
}

// PodSecurity is the part of the security context that concerns the pod as a whole;
// what it says of processes is merged into each Container's Security.
type PodSecurity struct {
	// FSGroup owns the pod's emptyDirs, claims and files volumes; nil: nobody in particular.
	FSGroup *int64 `json:"fsGroup,omitempty"`
	// Sysctls are set in the VM before the first container starts, sorted by name.
	Sysctls []Sysctl `json:"sysctls,omitempty"`
	// ShareProcesses puts all containers into one PID namespace.
	ShareProcesses bool `json:"shareProcesses,omitempty"`
	// HostPID lets containers see every process of the pod's VM.
	HostPID bool `json:"hostPID,omitempty"`
}

// Sysctl is one kernel parameter of the pod's VM.
type Sysctl struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Network is how a pod is found and what it finds.
type Network struct {
	Subdomain   string      `json:"subdomain,omitempty"`
	HostAliases []HostAlias `json:"hostAliases,omitempty"`
	// Ports are all hostPorts of all containers, in the manifest's order.
	Ports []HostPort `json:"ports,omitempty"`
	// DNSPolicy is "" for the usual one (ClusterFirst), else "Default" or "None".
	DNSPolicy string    `json:"dnsPolicy,omitempty"`
	DNS       DNSConfig `json:"dns,omitzero"`
	// FQDN makes the fully qualified name the pod's hostname.
	FQDN bool `json:"fqdn,omitempty"`
}

// HostAlias is one line of the containers' /etc/hosts.
type HostAlias struct {
	IP        string   `json:"ip"`
	Hostnames []string `json:"hostnames"`
}

// HostPort is a port of the host that leads into the pod.
type HostPort struct {
	// Protocol is "TCP" or "UDP".
	Protocol string `json:"protocol"`
	// HostIP is "" for all of the host's addresses.
	HostIP        string `json:"hostIP,omitempty"`
	HostPort      int32  `json:"hostPort"`
	ContainerPort int32  `json:"containerPort"`
}

// DNSConfig is what is added to the containers' /etc/resolv.conf.
type DNSConfig struct {
	Nameservers []string `json:"nameservers,omitempty"`
	Searches    []string `json:"searches,omitempty"`
	// Options are as in resolv.conf: "ndots:2", "rotate".
	Options []string `json:"options,omitempty"`
}

// Job is what a pod of a Job has on top of a pod.
type Job struct {
	Name string `json:"name"`
	// BackoffLimit is how often a failed pod is tried again.
	BackoffLimit int `json:"backoffLimit"`
	// Parallelism is how many pods of the Job run at once, >= 1.
	Parallelism int `json:"parallelism"`
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

// Volume returns the volume of that name that is no emptyDir, or nil.
func (p *Pod) Volume(name string) *Volume {
	for i := range p.Volumes {
		if p.Volumes[i].Name == name {
			return &p.Volumes[i]
		}
	}
	return nil
}

// Dir is the directory that relative image paths of the pod are relative to.
func (p *Pod) Dir() string { return path.Dir(p.Origin.File) }
