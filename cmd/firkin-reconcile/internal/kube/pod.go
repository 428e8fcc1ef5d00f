package kube

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// FromStatus returns the pod in Kubernetes' shape.
func FromStatus(s *schema.PodStatus) Pod {
	status := Status{
		Phase:                 PhaseOf(s),
		StartTime:             second(s.StartedAt),
		InitContainerStatuses: containers(s, true),
		ContainerStatuses:     containers(s, false),
		QOSClass:              qosClass(s.Spec),
		Firkin:                firkin(s),
	}
	status.HostIP, status.HostIPs = ips(s.HostIP)
	status.PodIP, status.PodIPs = ips(s.IP)
	status.Reason, status.Message = podReason(s)
	status.Conditions = conditions(s, &status)
	return Pod{APIVersion: "v1", Kind: "Pod", Metadata: metadata(s), Spec: spec(s), Status: status, sidecars: sidecars(s.Spec)}
}

func ips(ip string) (string, []IP) {
	if ip == "" {
		return "", nil
	}
	return ip, []IP{{IP: ip}}
}

func sidecars(pod *schema.Pod) map[string]bool {
	names := map[string]bool{}
	if pod != nil {
		for i := range pod.InitContainers {
			if pod.InitContainers[i].Sidecar {
				names[pod.InitContainers[i].Name] = true
			}
		}
	}
	return names
}

// PhaseOf is the pod's phase, judged as apply does. Nothing is known of a pod whose
// spec is lost.
func PhaseOf(s *schema.PodStatus) Phase {
	if s.Spec == nil {
		if s.Machine == schema.MachineRunning || s.Machine == schema.MachineUnknown {
			return Unknown
		}
		return Pending
	}
	return Phase(reconcile.Assess(s.Spec, s).Phase)
}

func ended(c *schema.ContainerStatus) bool {
	return c.State == schema.ContainerExited || c.State == schema.ContainerTerminated
}

// initialized tells whether every init container has succeeded, or runs beside the
// others as it should.
func initialized(s *schema.PodStatus) bool {
	if s.Spec == nil {
		return true
	}
	for i := range s.Spec.InitContainers {
		c := find(s, s.Spec.InitContainers[i].Name)
		switch {
		case c == nil:
			return false
		case s.Spec.InitContainers[i].Sidecar && (c.Started || ended(c)):
		case s.Spec.InitContainers[i].Sidecar || !ended(c) || c.ExitCode != 0:
			return false
		}
	}
	return true
}

// podReason explains a pod whose machine is not as it should be, or that could not be made.
func podReason(s *schema.PodStatus) (reason, message string) {
	switch s.Machine {
	case schema.MachineUnknown:
		return "MachineUnknown", s.Message
	case schema.MachineDead:
		reason, message = schema.ReasonMachineDied, s.Message
	}
	if f := failure(s, schema.Failure{Kind: "pod"}); f != nil {
		return f.Reason, f.Message
	}
	if s.Spec != nil && reason == "" {
		switch v := reconcile.Assess(s.Spec, s); v.Reason {
		case reconcile.ReasonDeadlineExceeded, reconcile.ReasonBackoffLimitExceeded:
			return v.Reason, v.Message
		}
	}
	return reason, message
}

func conditions(s *schema.PodStatus, status *Status) []Condition {
	var unready []string
	latest := s.StartedAt
	beside := slices.DeleteFunc(slices.Clone(status.InitContainerStatuses), func(c ContainerStatus) bool { return !isSidecar(s.Spec, c.Name) })
	for _, c := range slices.Concat(beside, status.ContainerStatuses) {
		succeeded := c.State.Terminated != nil && c.State.Terminated.ExitCode == 0
		if !c.Ready && (!succeeded || status.Phase != Running) {
			unready = append(unready, c.Name)
		}
	}
	for _, c := range s.Containers {
		times := []time.Time{c.StartedAt, c.FinishedAt}
		for _, p := range c.Probes {
			if p.Kind == schema.ProbeReadiness {
				times = append(times, p.At)
			}
		}
		for _, t := range times {
			if t.After(latest) {
				latest = t
			}
		}
	}
	ready := Condition{Status: "True", LastTransitionTime: second(latest)}
	switch {
	case status.Phase == Unknown:
		ready.Status, ready.Reason, ready.Message = "Unknown", status.Reason, status.Message
	case status.Phase == Succeeded || status.Phase == Failed:
		ready.Status, ready.Reason = "False", "Pod"+map[Phase]string{Succeeded: "Completed", Failed: "Failed"}[status.Phase]
	case len(unready) > 0:
		ready.Status, ready.Reason = "False", "ContainersNotReady"
		ready.Message = fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
	}
	init := Condition{Type: "Initialized", Status: "True", LastTransitionTime: second(latest)}
	if !initialized(s) {
		init.Status, init.Reason = "False", "ContainersNotInitialized"
	}
	podReady, containersReady := ready, ready
	podReady.Type, containersReady.Type = "Ready", "ContainersReady"
	scheduled := Condition{Type: "PodScheduled", Status: "True", LastTransitionTime: second(s.StartedAt)}
	return []Condition{init, podReady, containersReady, scheduled}
}

func metadata(s *schema.PodStatus) Metadata {
	m := Metadata{Name: s.Name, Namespace: s.Namespace, UID: s.UID, CreationTimestamp: second(created(s))}
	if s.Spec != nil {
		m.Labels, m.Annotations = s.Spec.Labels, s.Spec.Annotations
	}
	return m
}

// created is when the pod first was, which a new boot of its VM does not change.
func created(s *schema.PodStatus) time.Time {
	if !s.CreatedAt.IsZero() {
		return s.CreatedAt
	}
	return s.StartedAt
}

// spec is what the user wrote; where that is lost, what can still be told of it.
func spec(s *schema.PodStatus) json.RawMessage {
	if s.Spec != nil {
		var manifest struct {
			Spec json.RawMessage `json:"spec"`
		}
		if err := json.Unmarshal(s.Spec.Manifest, &manifest); err == nil && len(manifest.Spec) > 0 {
			return manifest.Spec
		}
	}
	type named struct {
		Name  string `json:"name"`
		Image string `json:"image"`
	}
	told := struct {
		Containers     []named `json:"containers"`
		InitContainers []named `json:"initContainers,omitempty"`
	}{Containers: []named{}}
	for _, c := range s.Containers {
		if n := (named{Name: c.Name, Image: c.Image}); c.Init {
			told.InitContainers = append(told.InitContainers, n)
		} else {
			told.Containers = append(told.Containers, n)
		}
	}
	b, err := json.Marshal(told)
	if err != nil {
		return json.RawMessage("{}") // plain strings always marshal
	}
	return b
}

// qosClass is Kubernetes' class of service by requests and limits.
func qosClass(pod *schema.Pod) string {
	if pod == nil {
		return "BestEffort"
	}
	any, all := false, true
	for _, list := range [][]schema.Container{pod.InitContainers, pod.Containers} {
		for _, c := range list {
			r := c.Resources
			any = any || r != (schema.ResourceLimits{})
			all = all && r.CPULimitMilli > 0 && r.MemoryLimitBytes > 0 &&
				(r.CPURequestMilli == 0 || r.CPURequestMilli == r.CPULimitMilli) &&
				(r.MemoryRequestBytes == 0 || r.MemoryRequestBytes == r.MemoryLimitBytes)
		}
	}
	switch {
	case !any:
		return "BestEffort"
	case all:
		return "Guaranteed"
	default:
		return "Burstable"
	}
}

func firkin(s *schema.PodStatus) Firkin {
	f := Firkin{
		Machine:        string(s.Machine),
		MachineMessage: s.Message,
		Driver:         s.Driver,
		Accelerator:    s.Accelerator,
		Guest:          s.Guest,
		AgentVersion:   s.AgentVersion,
		BootID:         s.BootID,
		Source:         s.Source,
		Store: Store{
			SizeBytes: s.Store.SizeBytes,
			UsedBytes: s.Store.UsedBytes,
			HostBytes: s.Store.HostBytes,
			Templates: s.Store.Templates,
		},
	}
	if s.Spec != nil {
		f.File, f.Line, f.Commit = s.Spec.Origin.File, s.Spec.Origin.Line, s.Spec.Origin.Commit
	}
	for _, e := range s.EmptyDirs {
		f.EmptyDirs = append(f.EmptyDirs, EmptyDir{
			Name: e.Name, Medium: string(e.Medium), SizeLimitBytes: e.SizeLimitBytes, UsedBytes: e.UsedBytes,
		})
	}
	for i := range s.Volumes {
		kind, source := VolumeWords(s.Volumes[i].Spec)
		f.Volumes = append(f.Volumes, Volume{Name: s.Volumes[i].Name, Kind: kind, Source: source})
	}
	f.Probes = probes(s)
	for _, fail := range s.Failures {
		f.Failures = append(f.Failures, Failure{
			Object: fail.Kind + "/" + fail.Name, Reason: fail.Reason, Message: fail.Message, Attempts: fail.Attempts, At: second(fail.At),
		})
	}
	for _, c := range s.Containers {
		if c.PID > 0 {
			if f.PIDs == nil {
				f.PIDs = map[string]int{}
			}
			f.PIDs[c.Name] = c.PID
		}
	}
	return f
}
