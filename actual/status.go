package actual

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// annotationPod keeps the pod a machine was made for, as JSON, with the machine.
const annotationPod = "pod"

// record is what the machine was made for; nil when that is lost.
func (m *machine) record() *schema.Pod {
	return decode[schema.Pod]([]byte(m.info.Spec.Annotations[annotationPod]))
}

// ref names the machine's pod: by the host's record or, where that is lost, by what
// the guest says it is.
func (m *machine) ref() (schema.Ref, bool) {
	if pod := m.record(); pod != nil {
		return pod.Ref, true
	}
	if id := m.pod.GetPod(); id != nil {
		return schema.Ref{Namespace: id.GetNamespace(), Name: id.GetName()}, true
	}
	return schema.Ref{}, false
}

// statuses returns the mirror as pods, sorted by Ref. The caller holds o.mu.
func (o *Observer) statuses() []schema.PodStatus {
	byRef := make(map[schema.Ref]schema.PodStatus, len(o.machines))
	for _, m := range o.machines {
		ref, ok := m.ref()
		if !ok {
			// A machine nobody can name is left alone; it shows under its id.
			ref = schema.Ref{Name: m.handle.ID()}
		}
		if other, double := byRef[ref]; double {
			// Which of the two is right cannot be told here, so neither is touched.
			other.Machine = schema.MachineUnknown
			other.Message = fmt.Sprintf("two machines claim to be this pod: %s and %s; remove one", other.UID, m.handle.ID())
			byRef[ref] = other
			continue
		}
		byRef[ref] = m.status(ref)
	}
	for ref, failed := range o.failures.all() {
		status, ok := byRef[ref]
		if !ok {
			status = schema.PodStatus{Ref: ref, Source: failed.Source, Machine: schema.MachineAbsent, Spec: failed.Spec}
		}
		status.Failures = failed.Failures
		byRef[ref] = status
	}
	list := make([]schema.PodStatus, 0, len(byRef))
	for _, status := range byRef {
		list = append(list, status)
	}
	slices.SortFunc(list, func(a, b schema.PodStatus) int { return a.Ref.Compare(b.Ref) })
	return list
}

// status is the machine as a pod.
func (m *machine) status(ref schema.Ref) schema.PodStatus {
	s := schema.PodStatus{
		Ref:         ref,
		UID:         m.handle.ID(),
		Machine:     schema.MachineUnknown,
		Message:     m.info.Message,
		Driver:      m.info.Driver,
		Accelerator: m.info.Accelerator,
		Guest:       m.info.Spec.Guest.Version,
		StartedAt:   m.info.StartedAt,
		LogDir:      m.info.LogDir,
	}
	if spec := m.record(); spec != nil {
		s.Spec, s.Source, s.VMDigest = spec, spec.Source, spec.VMDigest()
	}
	s.Store.HostBytes = m.info.StoreHostBytes
	s.Store.TrimmedAt = m.trimmedAt
	switch {
	case m.info.State == driver.StateStopped:
		s.Machine = schema.MachineDead
	case m.silent != nil:
		s.Message = m.silent.Error()
	case m.pod != nil:
		s.Machine = schema.MachineRunning
	}
	if m.pod != nil {
		m.describe(&s)
	}
	return s
}

// describe adds what the guest says. Nothing of it decides which pod this is.
func (m *machine) describe(s *schema.PodStatus) {
	s.AgentVersion = m.pod.GetAgentVersion()
	s.BootID = m.pod.GetBootId()
	if id := m.pod.GetPod(); id != nil {
		s.Configured = true
		if spec := decode[schema.Pod](id.GetManifest()); spec != nil && spec.Ref == s.Ref {
			s.Spec = spec
		}
		if s.Source == "" {
			s.Source = id.GetSource()
		}
		if s.VMDigest == "" {
			s.VMDigest = id.GetVmDigest()
		}
	}
	for _, c := range m.pod.GetContainers() {
		s.Containers = append(s.Containers, containerStatus(c))
	}
	for _, e := range m.pod.GetEmptyDirs() {
		s.EmptyDirs = append(s.EmptyDirs, emptyDirStatus(e))
	}
	if store := m.pod.GetStore(); store != nil {
		s.Store.SizeBytes = store.GetSizeBytes()
		s.Store.UsedBytes = store.GetUsedBytes()
		s.Store.Templates = int(store.GetTemplates())
	}
}

func containerStatus(c *agentpb.ContainerState) schema.ContainerStatus {
	s := schema.ContainerStatus{
		Name:         c.GetName(),
		Init:         c.GetInit(),
		Digest:       c.GetDigest(),
		Spec:         decode[schema.Container](c.GetManifest()),
		State:        containerState(c.GetState()),
		ID:           c.GetId(),
		Image:        c.GetImage(),
		ImageID:      c.GetImageId(),
		PID:          int(c.GetPid()),
		StartedAt:    timeOf(c.GetStartedAt()),
		FinishedAt:   timeOf(c.GetFinishedAt()),
		ExitCode:     int(c.GetExitCode()),
		Reason:       c.GetReason(),
		Message:      c.GetMessage(),
		RestartCount: int(c.GetRestartCount()),
	}
	for _, r := range c.GetRuns() {
		s.Runs = append(s.Runs, schema.Run{
			Digest:     r.GetDigest(),
			ID:         r.GetId(),
			StartedAt:  timeOf(r.GetStartedAt()),
			FinishedAt: timeOf(r.GetFinishedAt()),
			ExitCode:   int(r.GetExitCode()),
			Reason:     r.GetReason(),
		})
	}
	return s
}

func containerState(s agentpb.ContainerState_State) schema.ContainerState {
	switch s {
	case agentpb.ContainerState_RUNNING:
		return schema.ContainerRunning
	case agentpb.ContainerState_EXITED:
		return schema.ContainerExited
	case agentpb.ContainerState_TERMINATED:
		return schema.ContainerTerminated
	default:
		return schema.ContainerCreating
	}
}

func emptyDirStatus(e *agentpb.EmptyDirState) schema.EmptyDirStatus {
	s := schema.EmptyDirStatus{
		Name:           e.GetName(),
		Digest:         e.GetDigest(),
		SizeLimitBytes: e.GetSizeLimitBytes(),
		UsedBytes:      e.GetUsedBytes(),
	}
	if e.GetMemory() {
		s.Medium = schema.MediumMemory
	}
	return s
}

// decode returns the T that JSON says, nil when it says none: what a guest or an
// older version kept may be anything.
func decode[T any](b []byte) *T {
	if len(b) == 0 {
		return nil
	}
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return nil
	}
	return v
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil || t.CheckValid() != nil {
		return time.Time{}
	}
	return t.AsTime()
}

// Bounds on what one guest may report; a pod cannot have more than these (the
// manifest's own limits are far below them).
const (
	maxContainers = 512
	maxEmptyDirs  = 512
	maxNameBytes  = 253
)

// checkState refuses a report that no honest agent sends, before any of it is kept.
func checkState(pod *agentpb.PodState) error {
	if n := len(pod.GetContainers()); n > maxContainers {
		return fmt.Errorf("the agent reports %d containers, more than %d", n, maxContainers)
	}
	if n := len(pod.GetEmptyDirs()); n > maxEmptyDirs {
		return fmt.Errorf("the agent reports %d emptyDirs, more than %d", n, maxEmptyDirs)
	}
	names := make(map[string]bool, len(pod.GetContainers()))
	for _, c := range pod.GetContainers() {
		name := c.GetName()
		if len(name) > maxNameBytes || name == "" {
			return fmt.Errorf("the agent reports a container with a name of %d bytes", len(name))
		}
		if names[name] {
			return fmt.Errorf("the agent reports container %q twice", name)
		}
		names[name] = true
		if len(c.GetRuns()) > schema.MaxRuns {
			return fmt.Errorf("the agent reports %d runs of container %q, more than %d", len(c.GetRuns()), name, schema.MaxRuns)
		}
	}
	return nil
}
