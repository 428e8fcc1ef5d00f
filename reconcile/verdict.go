package reconcile

import (
	"fmt"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// PodPhase is a pod's phase, in Kubernetes' words.
type PodPhase string

// The phases.
const (
	PhasePending   PodPhase = "Pending"
	PhaseRunning   PodPhase = "Running"
	PhaseSucceeded PodPhase = "Succeeded"
	PhaseFailed    PodPhase = "Failed"
	PhaseUnknown   PodPhase = "Unknown"
)

// Verdict is how far a pod has come.
type Verdict struct {
	Phase PodPhase
	// Ready: every container runs, or the pod has Succeeded.
	Ready bool
	// Final: nothing more will happen by itself (Succeeded or Failed).
	Final bool
	// Reason and Message say why it is not ready.
	Reason  string
	Message string
}

// Assess judges a pod by what was last seen of it; status may be nil. It is the only
// place that does, so that apply and get agree.
func Assess(pod *schema.Pod, status *schema.PodStatus) Verdict {
	switch {
	case status == nil:
		return Verdict{Phase: PhasePending, Reason: "NotStarted", Message: "it does not run yet"}
	case status.Machine == schema.MachineUnknown:
		return Verdict{Phase: PhaseUnknown, Reason: "MachineUnknown", Message: status.Message}
	case status.Machine == schema.MachineDead:
		return failing(status, Verdict{Phase: PhasePending, Reason: schema.ReasonMachineDied, Message: status.Message})
	case status.Machine == schema.MachineAbsent || !status.Configured:
		return failing(status, Verdict{Phase: PhasePending, Reason: "NotStarted", Message: "it does not run yet"})
	}
	if v, ended := assessInit(pod, status); !ended {
		return v
	}
	return assessContainers(pod, status)
}

// failing adds the latest standing failure to a verdict that has none of its own.
func failing(status *schema.PodStatus, v Verdict) Verdict {
	latest := -1
	for i, f := range status.Failures {
		if latest < 0 || f.At.After(status.Failures[latest].At) {
			latest = i
		}
	}
	if latest >= 0 {
		f := status.Failures[latest]
		v.Reason, v.Message = f.Reason, fmt.Sprintf("%s %s: %s", f.Kind, f.Name, f.Message)
	}
	return v
}

// assessInit judges the init containers; ended says that all have ended well.
func assessInit(pod *schema.Pod, status *schema.PodStatus) (_ Verdict, ended bool) {
	for i := range pod.InitContainers {
		name := pod.InitContainers[i].Name
		s := findContainer(status, name)
		switch {
		case s != nil && s.State == schema.ContainerTerminated && s.ExitCode == 0:
			continue
		case s != nil && s.State == schema.ContainerTerminated && pod.RestartPolicy == schema.RestartNever:
			return Verdict{Phase: PhaseFailed, Final: true, Reason: "InitContainerFailed", Message: "init container " + name + ": " + ending(s)}, false
		case s != nil && s.State == schema.ContainerTerminated:
			return failing(status, Verdict{Phase: PhasePending, Reason: "CrashLoopBackOff", Message: "init container " + name + ": " + ending(s)}), false
		default:
			return failing(status, Verdict{Phase: PhasePending, Reason: "PodInitializing", Message: "init container " + name + " has not ended yet"}), false
		}
	}
	return Verdict{}, true
}

func assessContainers(pod *schema.Pod, status *schema.PodStatus) Verdict {
	var missing, running, ended, failed, restarting int
	var sick *schema.ContainerStatus
	for i := range pod.Containers {
		c := &pod.Containers[i]
		s := findContainer(status, c.Name)
		switch {
		case s == nil || s.State == schema.ContainerCreating || s.Digest != c.Digest():
			missing++
		case s.State == schema.ContainerRunning:
			running++
		case restarts(pod.RestartPolicy, s.ExitCode):
			restarting++
			sick = s
		default:
			ended++
			if s.ExitCode != 0 {
				failed++
				sick = s
			}
		}
	}
	switch {
	case missing == len(pod.Containers):
		return failing(status, Verdict{Phase: PhasePending, Reason: "ContainerCreating", Message: "no container runs yet"})
	case missing > 0:
		return failing(status, Verdict{Phase: PhaseRunning, Reason: "ContainerCreating", Message: fmt.Sprintf("%d of %d containers do not run yet", missing, len(pod.Containers))})
	case restarting > 0:
		return failing(status, Verdict{Phase: PhaseRunning, Reason: "CrashLoopBackOff", Message: "container " + sick.Name + ": " + ending(sick)})
	case running > 0:
		return Verdict{Phase: PhaseRunning, Ready: failed == 0, Reason: reasonOf(sick), Message: messageOf(sick)}
	case failed > 0:
		return Verdict{Phase: PhaseFailed, Final: true, Reason: reasonOf(sick), Message: messageOf(sick)}
	default:
		return Verdict{Phase: PhaseSucceeded, Ready: true, Final: true}
	}
}

func reasonOf(s *schema.ContainerStatus) string {
	if s == nil {
		return ""
	}
	if s.Reason != "" {
		return s.Reason
	}
	return "Error"
}

func messageOf(s *schema.ContainerStatus) string {
	if s == nil {
		return ""
	}
	return "container " + s.Name + ": " + ending(s)
}
