// Package kube shows pods in Kubernetes' shapes, so that what reads kubectl's JSON
// reads ours. The types are the part of k8s.io/api/core/v1 that we fill in, under
// the same JSON names.
package kube

import (
	"encoding/json"
	"time"
)

// List is a v1 List of pods.
type List struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   struct{} `json:"metadata"`
	Items      []Pod    `json:"items"`
}

// NewList returns a list of pods; it is never null in JSON.
func NewList(pods []Pod) List {
	if pods == nil {
		pods = []Pod{}
	}
	return List{APIVersion: "v1", Kind: "List", Items: pods}
}

// Pod is a v1 Pod.
type Pod struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
	// Spec is the manifest's, as the user wrote it.
	Spec   json.RawMessage `json:"spec"`
	Status Status          `json:"status"`

	// sidecars are the init containers that run beside the others.
	sidecars map[string]bool
}

// IP is a v1 PodIP or HostIP.
type IP struct {
	IP string `json:"ip"`
}

// Metadata is a v1 ObjectMeta.
type Metadata struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	UID               string            `json:"uid,omitempty"`
	Labels            map[string]string `json:"labels,omitempty"`
	Annotations       map[string]string `json:"annotations,omitempty"`
	CreationTimestamp time.Time         `json:"creationTimestamp,omitzero"`
}

// Phase is where a pod is in its life; the values are Kubernetes'.
type Phase string

// The phases of a pod.
const (
	Pending   Phase = "Pending"
	Running   Phase = "Running"
	Succeeded Phase = "Succeeded"
	Failed    Phase = "Failed"
	Unknown   Phase = "Unknown"
)

// Status is a v1 PodStatus, with Firkin as an extension of ours.
type Status struct {
	Phase                 Phase             `json:"phase"`
	Conditions            []Condition       `json:"conditions"`
	Reason                string            `json:"reason,omitempty"`
	Message               string            `json:"message,omitempty"`
	HostIP                string            `json:"hostIP"`
	HostIPs               []IP              `json:"hostIPs,omitempty"`
	PodIP                 string            `json:"podIP"`
	PodIPs                []IP              `json:"podIPs,omitempty"`
	StartTime             time.Time         `json:"startTime,omitzero"`
	InitContainerStatuses []ContainerStatus `json:"initContainerStatuses,omitempty"`
	ContainerStatuses     []ContainerStatus `json:"containerStatuses"`
	QOSClass              string            `json:"qosClass"`
	Firkin                Firkin            `json:"firkin"`
}

// Condition is a v1 PodCondition.
type Condition struct {
	Type               string    `json:"type"`
	Status             string    `json:"status"` // True, False, Unknown
	Reason             string    `json:"reason,omitempty"`
	Message            string    `json:"message,omitempty"`
	LastTransitionTime time.Time `json:"lastTransitionTime,omitzero"`
}

// ContainerStatus is a v1 ContainerStatus.
type ContainerStatus struct {
	Name         string         `json:"name"`
	State        ContainerState `json:"state"`
	LastState    ContainerState `json:"lastState"`
	Ready        bool           `json:"ready"`
	RestartCount int            `json:"restartCount"`
	Image        string         `json:"image"`
	ImageID      string         `json:"imageID"`
	ContainerID  string         `json:"containerID,omitempty"`
	Started      bool           `json:"started"`
}

// ContainerState is a v1 ContainerState: one of the three, or none.
type ContainerState struct {
	Waiting    *Waiting    `json:"waiting,omitempty"`
	Running    *RunState   `json:"running,omitempty"`
	Terminated *Terminated `json:"terminated,omitempty"`
}

// Waiting is a v1 ContainerStateWaiting.
type Waiting struct {
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
}

// RunState is a v1 ContainerStateRunning.
type RunState struct {
	StartedAt time.Time `json:"startedAt"`
}

// Terminated is a v1 ContainerStateTerminated.
type Terminated struct {
	ExitCode    int       `json:"exitCode"`
	Reason      string    `json:"reason,omitempty"`
	Message     string    `json:"message,omitempty"`
	StartedAt   time.Time `json:"startedAt,omitzero"`
	FinishedAt  time.Time `json:"finishedAt,omitzero"`
	ContainerID string    `json:"containerID,omitempty"`
}

// Firkin is what Kubernetes has no words for: the pod's machine. It is an extension
// of the status that readers of Kubernetes' own fields do not see.
type Firkin struct {
	Machine        string     `json:"machine"`
	MachineMessage string     `json:"machineMessage,omitempty"`
	Driver         string     `json:"driver,omitempty"`
	Accelerator    string     `json:"accelerator,omitempty"`
	Guest          string     `json:"guest,omitempty"`
	AgentVersion   string     `json:"agentVersion,omitempty"`
	BootID         string     `json:"bootID,omitempty"`
	Source         string     `json:"source,omitempty"`
	File           string     `json:"file,omitempty"`
	Line           int        `json:"line,omitempty"`
	Commit         string     `json:"commit,omitempty"`
	Store          Store      `json:"store"`
	EmptyDirs      []EmptyDir `json:"emptyDirs,omitempty"`
	Volumes        []Volume   `json:"volumes,omitempty"`
	Probes         []Probe    `json:"probes,omitempty"`
	Failures       []Failure  `json:"failures,omitempty"`
	// PIDs are the containers' first processes inside the VM, by container name.
	PIDs map[string]int `json:"pids,omitempty"`
}

// Store is the pod store, in bytes.
type Store struct {
	SizeBytes int64 `json:"sizeBytes"`
	UsedBytes int64 `json:"usedBytes"`
	HostBytes int64 `json:"hostBytes"`
	Templates int   `json:"templates"`
}

// EmptyDir is one volume and what it holds.
type EmptyDir struct {
	Name           string `json:"name"`
	Medium         string `json:"medium,omitempty"`
	SizeLimitBytes int64  `json:"sizeLimitBytes,omitempty"`
	UsedBytes      int64  `json:"usedBytes"`
}

// Volume is one volume that is no emptyDir; what it holds is not shown.
type Volume struct {
	Name string `json:"name"`
	// Kind is files, hostPath, image, claim or unknown.
	Kind string `json:"kind"`
	// Source says where it comes from, in words.
	Source string `json:"source,omitempty"`
}

// Probe is what a probe of a container last found.
type Probe struct {
	Container string    `json:"container"`
	Kind      string    `json:"kind"` // liveness, readiness, startup
	OK        bool      `json:"ok"`
	Failures  int       `json:"failures,omitempty"` // in a row
	Message   string    `json:"message,omitempty"`
	At        time.Time `json:"at,omitzero"`
}

// Failure is an action that failed last and backs off.
type Failure struct {
	Object   string    `json:"object"`
	Reason   string    `json:"reason"`
	Message  string    `json:"message"`
	Attempts int       `json:"attempts"`
	At       time.Time `json:"at"`
}
