package schema

import (
	"cmp"
	"time"
)

// DesiredState is what the manifests say, with what could not be read kept apart:
// unknown is not absent.
type DesiredState struct {
	// Pods are the valid, settled pods, sorted by Ref. A pod whose manifest became
	// invalid stays here in its last good version (and is listed in Held too). What was
	// handed out is never changed: the same pointer is the same pod as before.
	Pods []*Pod
	// Held are pods that must be left as they are, whatever else is known.
	Held []HeldPod
	// Sources are the paths the user named.
	Sources []SourceState
	// Problems are all errors and warnings of all files.
	Problems []Problem
}

// HeldPod is a pod whose manifest cannot be used at the moment.
type HeldPod struct {
	Ref
	Source string
	Reason string
}

// SourceState is one file or directory the user named.
type SourceState struct {
	// Path is absolute.
	Path string
	// Known is false when the source could not be read completely: nothing of it may be removed.
	Known bool
	// Reason says why Known is false (or why removals are held).
	Reason string
	// HeldFiles are files of the source that exist but whose pods are not known
	// (for instance unparsable ones never seen valid). While there is one,
	// nothing of this source may be removed.
	HeldFiles []string
	// Unclear are files of the source that exist and hold errors, or nothing at all. A pod
	// that came from one of them is not removed, whatever the file says now.
	Unclear []string
	// Empty is true when the source was read and holds no manifest.
	Empty bool
	// Prune is true when pods of this source that are no longer in it are to be removed.
	Prune bool
	// Commit is the git commit of the checkout, "" outside one.
	Commit string
}

// Severity of a problem.
type Severity string

// The severities of a Problem.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// ProblemClass tells what kind of mistake a problem is.
type ProblemClass string

// The classes of a Problem.
const (
	// ClassUnknown is a key that Kubernetes does not know either (a typing mistake).
	ClassUnknown ProblemClass = "unknown"
	// ClassUnsupported is known to Kubernetes but not supported here (yet).
	ClassUnsupported ProblemClass = "unsupported"
	// ClassInvalid is a supported field with a value that is not allowed.
	ClassInvalid ProblemClass = "invalid"
)

// Problem is one thing wrong with a manifest, in a form people and editors can use.
type Problem struct {
	File     string       `json:"file"`
	Line     int          `json:"line"`
	Column   int          `json:"column"`
	Path     string       `json:"path"` // as Kubernetes writes it: spec.containers[0].image
	Severity Severity     `json:"severity"`
	Class    ProblemClass `json:"class"`
	Rule     Rule         `json:"rule,omitempty"`
	Message  string       `json:"message"`
}

// Rule names a mistake that other programs may want to tell from the rest.
type Rule string

// The rules that have a name.
const (
	RuleDuplicateContainer Rule = "duplicate-container"
	RuleDuplicateEmptyDir  Rule = "duplicate-emptydir"
	RuleUndeclaredMount    Rule = "undeclared-mount"
	// RuleDuplicatePod is a pod that several documents name.
	RuleDuplicatePod Rule = "duplicate-pod"
	// RuleImageByTag is an image that is named by tag only, where digests are required.
	RuleImageByTag Rule = "image-by-tag"
	// RuleUntrusted is a pod that is marked untrusted, where nothing would hold it.
	RuleUntrusted Rule = "untrusted"
)

// Compare orders problems by file, line, column, path and message.
func (p Problem) Compare(o Problem) int {
	return cmp.Or(
		cmp.Compare(p.File, o.File),
		cmp.Compare(p.Line, o.Line),
		cmp.Compare(p.Column, o.Column),
		cmp.Compare(p.Path, o.Path),
		cmp.Compare(p.Message, o.Message),
	)
}

// ActualState is what the machines were seen to run.
type ActualState struct {
	// Pods are sorted by Ref. What was handed out is never changed: the same pointer is the
	// same status as before.
	Pods []*PodStatus
	// Known is false when the machines could not be listed: nothing may be done.
	Known bool
	// Reason says why Known is false.
	Reason string
}

// MachineState is what is known about a pod's VM.
type MachineState string

// The states of a pod's VM.
const (
	// MachineAbsent: there is no VM; the status only carries failures of making one.
	MachineAbsent MachineState = "Absent"
	// MachineRunning: the VM answered.
	MachineRunning MachineState = "Running"
	// MachineUnknown: the VM exists and has neither answered nor been proven dead. Nothing is done to it.
	MachineUnknown MachineState = "Unknown"
	// MachineDead: the VM is proven dead; its store is still there.
	MachineDead MachineState = "Dead"
)

// PodStatus is one pod as it was seen.
type PodStatus struct {
	Ref
	// UID is the machine's UUID, "" when absent.
	UID string `json:"uid,omitempty"`
	// Source is the source path recorded when the pod was made.
	Source  string       `json:"source,omitempty"`
	Machine MachineState `json:"machine"`
	// Message explains Machine in words.
	Message string `json:"message,omitempty"`
	// Configured is true once the agent has opened the pod store.
	Configured bool `json:"configured"`
	// Spec is the pod as last applied; nil when it cannot be told.
	Spec *Pod `json:"spec,omitempty"`
	// VMDigest is Pod.VMDigest of what the machine was made for.
	VMDigest string `json:"vmDigest,omitempty"`

	Driver       string `json:"driver,omitempty"`
	Accelerator  string `json:"accelerator,omitempty"`
	Guest        string `json:"guest,omitempty"`
	AgentVersion string `json:"agentVersion,omitempty"`
	BootID       string `json:"bootID,omitempty"`
	// StartedAt is when the VM was last started, CreatedAt when the pod first was (on its
	// store: a pod whose VM died and was started again keeps it).
	StartedAt time.Time `json:"startedAt,omitzero"`
	CreatedAt time.Time `json:"createdAt,omitzero"`
	// IP is the pod's address in the pods' network, "" when it has none.
	IP string `json:"ip,omitempty"`
	// HostIP is an address of this host.
	HostIP string `json:"hostIP,omitempty"`

	Containers []ContainerStatus `json:"containers,omitempty"`
	EmptyDirs  []EmptyDirStatus  `json:"emptyDirs,omitempty"`
	Volumes    []VolumeStatus    `json:"volumes,omitempty"`
	Store      StoreStatus       `json:"store,omitzero"`
	// Failures are the last failed actions on this pod that have not succeeded since.
	Failures []Failure `json:"failures,omitempty"`
	// LogDir is the host directory with the containers' CRI logs, "" when there is none.
	LogDir string `json:"-"`
}

// ContainerState is the state of a container in its VM.
type ContainerState string

// The states of a container.
const (
	ContainerCreating ContainerState = "Creating"
	ContainerRunning  ContainerState = "Running"
	// ContainerExited has ended and holds its resources until a wait action reaps it.
	ContainerExited ContainerState = "Exited"
	// ContainerTerminated has ended and was reaped; only its record is left.
	ContainerTerminated ContainerState = "Terminated"
)

// ContainerStatus is one container as its VM reports it.
type ContainerStatus struct {
	Name   string `json:"name"`
	Init   bool   `json:"init,omitempty"`
	Digest string `json:"digest"`
	// Spec is the container as last added; nil when the guest holds none that can be read.
	Spec  *Container     `json:"spec,omitempty"`
	State ContainerState `json:"state"`
	// ID is unique per start within the pod.
	ID      string `json:"id"`
	Image   string `json:"image"`
	ImageID string `json:"imageID"`
	// PID is the init process's id inside the VM, 0 unless running.
	PID          int       `json:"pid,omitempty"`
	StartedAt    time.Time `json:"startedAt,omitzero"`
	FinishedAt   time.Time `json:"finishedAt,omitzero"`
	ExitCode     int       `json:"exitCode"`
	Reason       string    `json:"reason,omitempty"` // Completed, Error, OOMKilled, ...
	Message      string    `json:"message,omitempty"`
	RestartCount int       `json:"restartCount"`
	// Started: postStart and the startup probe have succeeded. Ready: it is started, runs,
	// and its readiness probe (if any) holds.
	Started bool `json:"started,omitempty"`
	Ready   bool `json:"ready,omitempty"`
	// Probes are the last results, of probes that have failed or were asked at all.
	Probes []ProbeStatus `json:"probes,omitempty"`
	// Runs are the last ended runs, oldest first, at most MaxRuns. Restart back-off
	// is computed from them, so it survives a restart of the reconciler.
	Runs []Run `json:"runs,omitempty"`
}

// MaxRuns bounds ContainerStatus.Runs: enough for back-off to reach its ceiling (10 s doubling to 300 s).
const MaxRuns = 8

// Run is one ended run of a container.
type Run struct {
	Digest     string    `json:"digest"`
	ID         string    `json:"id"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`
	ExitCode   int       `json:"exitCode"`
	Reason     string    `json:"reason,omitempty"`
}

// EmptyDirStatus is one emptyDir as its VM reports it.
type EmptyDirStatus struct {
	Name           string `json:"name"`
	Digest         string `json:"digest"`
	Medium         Medium `json:"medium,omitempty"`
	SizeLimitBytes int64  `json:"sizeLimitBytes,omitempty"`
	UsedBytes      int64  `json:"usedBytes"`
}

// VolumeStatus is one volume that is no emptyDir as its VM reports it.
type VolumeStatus struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	// Spec is the volume as last added; nil when the guest holds none that can be read.
	Spec *Volume `json:"spec,omitempty"`
	// Disk is the id of the disk it is on, "" when it is on none.
	Disk string `json:"disk,omitempty"`
}

// The kinds of probes.
const (
	ProbeLiveness  = "liveness"
	ProbeReadiness = "readiness"
	ProbeStartup   = "startup"
)

// ProbeStatus is what a probe last found.
type ProbeStatus struct {
	Kind string `json:"kind"`
	OK   bool   `json:"ok"`
	// Failures are those in a row, 0 when OK.
	Failures int `json:"failures,omitempty"`
	// Message says what was found ("HTTP status 503").
	Message string    `json:"message,omitempty"`
	At      time.Time `json:"at,omitzero"`
}

// StoreStatus is the pod store as VM and host see it.
type StoreStatus struct {
	SizeBytes int64 `json:"sizeBytes"`
	// UsedBytes is what the guest's file system uses.
	UsedBytes int64 `json:"usedBytes"`
	// HostBytes is what the sparse file occupies on the host.
	HostBytes int64 `json:"hostBytes"`
	// Templates is the number of image templates in use by the pod.
	Templates int `json:"templates"`
	// TrimmedAt is when it was last trimmed, zero when that is not known.
	TrimmedAt time.Time `json:"trimmedAt,omitzero"`
}

// Reasons that the observer gives and the planner decides on.
const (
	// ReasonMachineDied is the reason of a pod whose VM died, and of a container that ended
	// with it; the guest's agent, which knows no package of ours, writes the same word.
	ReasonMachineDied = "MachineDied"
	// ReasonRemoveFailed is the reason of a removal that failed.
	ReasonRemoveFailed = "RemoveFailed"
)

// Failure is a failed action on one object, kept until the action succeeds or
// the object's spec changes. Back-off of retries is computed from it.
type Failure struct {
	Kind   string `json:"kind"` // pod, container, emptyDir
	Name   string `json:"name"`
	Digest string `json:"digest"` // of the spec that failed
	// Attempts counts failures in a row, from 1.
	Attempts int       `json:"attempts"`
	At       time.Time `json:"at"`
	Reason   string    `json:"reason"` // ErrImagePull, BootFailed, ...
	Message  string    `json:"message"`
}

// OfRemoval tells whether it is a removal that failed.
func (f Failure) OfRemoval() bool { return f.Reason == ReasonRemoveFailed }
