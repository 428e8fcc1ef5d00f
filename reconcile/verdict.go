package reconcile

import (
	"fmt"
	"strings"
	"time"

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

// The reasons of a Verdict that this package gives; others are those of failures and of
// containers that ended. They are Kubernetes' words where it has some.
const (
	ReasonNotStarted          = "NotStarted"
	ReasonMachineUnknown      = "MachineUnknown"
	ReasonPodInitializing     = "PodInitializing"
	ReasonContainerCreating   = "ContainerCreating"
	ReasonInitContainerFailed = "InitContainerFailed"
	ReasonCrashLoopBackOff    = "CrashLoopBackOff"
	// ReasonConfigError: something that a container needs is missing; see Lacks.
	ReasonConfigError = "CreateContainerConfigError"
	// ReasonNotReady: a container runs, and its probes do not hold.
	ReasonNotReady = "NotReady"
	// ReasonDeadlineExceeded: activeDeadlineSeconds is over.
	ReasonDeadlineExceeded = "DeadlineExceeded"
	// ReasonBackoffLimitExceeded: a pod of a Job failed as often as it may.
	ReasonBackoffLimitExceeded = "BackoffLimitExceeded"
	// ReasonNotRemoved: a pod that should be gone cannot be removed.
	ReasonNotRemoved = "NotRemoved"
)

// Verdict is how far a pod has come.
type Verdict struct {
	Phase PodPhase
	// Ready: every container is ready, or the pod has Succeeded.
	Ready bool
	// Final: nothing more will happen by itself (Succeeded or Failed).
	Final bool
	// Reason and Message say why it is not ready.
	Reason  string
	Message string
}

// Assess is AssessAt for the present.
func Assess(pod *schema.Pod, status *schema.PodStatus) Verdict {
	return AssessAt(pod, status, time.Now())
}

// AssessAt judges a pod by what was last seen of it; status may be nil. It is the only
// place that does, so that apply and get agree.
func AssessAt(pod *schema.Pod, status *schema.PodStatus, now time.Time) Verdict {
	notStarted := Verdict{Phase: PhasePending, Reason: ReasonNotStarted, Message: "it does not run yet"}
	if status == nil {
		return notStarted
	}
	v := view{clock: clock{now: now}, pod: pod, status: status}
	switch {
	case status.Machine == schema.MachineUnknown:
		return Verdict{Phase: PhaseUnknown, Reason: ReasonMachineUnknown, Message: status.Message}
	case status.Machine == schema.MachineDead && v.fate().kind != fateOverdue:
		return failing(status, Verdict{Phase: PhasePending, Reason: schema.ReasonMachineDied, Message: status.Message})
	case status.Machine == schema.MachineAbsent, status.Machine == schema.MachineRunning && !status.Configured:
		return failing(status, notStarted)
	}
	switch f := v.fate(); f.kind {
	case fateOpen:
		if verdict, ended := v.assessInit(); !ended {
			return verdict
		}
		return v.assessContainers()
	case fateRetry:
		return failing(status, Verdict{Phase: PhaseRunning, Reason: ReasonCrashLoopBackOff, Message: v.tryWords(f.sick)})
	case fateSucceeded:
		return Verdict{Phase: PhaseSucceeded, Ready: true, Final: true}
	default:
		return v.assessFailed(f)
	}
}

// assessFailed judges a pod that has failed for good.
func (v *view) assessFailed(f fate) Verdict {
	verdict := Verdict{Phase: PhaseFailed, Final: true}
	switch {
	case f.kind == fateOverdue:
		verdict.Reason = ReasonDeadlineExceeded
		verdict.Message = v.overdueWords() + "; delete the pod to run it anew"
	case f.kind == fateExhausted, v.pod.Job != nil:
		verdict.Reason, verdict.Message = ReasonBackoffLimitExceeded, v.exhaustedWords(f.sick)
	case v.isInit(f.sick.Name):
		verdict.Reason, verdict.Message = ReasonInitContainerFailed, "init "+messageOf(f.sick)
	default:
		verdict.Reason, verdict.Message = reasonOf(f.sick), messageOf(f.sick)
	}
	return verdict
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

// missing judges a pod that waits for what a container lacks; ok is false when it does not.
func (v *view) missing(c *schema.Container, phase PodPhase) (_ Verdict, ok bool) {
	words := v.lacks(c)
	if len(words) == 0 {
		return Verdict{}, false
	}
	return Verdict{Phase: phase, Reason: ReasonConfigError, Message: "container " + c.Name + " " + waitsFor(words)}, true
}

// assessInit judges the init containers; ended says that all have ended well or, being
// sidecars, have started.
func (v *view) assessInit() (_ Verdict, ended bool) {
	for i := range v.pod.InitContainers {
		c := &v.pod.InitContainers[i]
		s := findContainer(v.status, c.Name)
		pending := Verdict{Phase: PhasePending, Reason: ReasonPodInitializing}
		switch {
		case s != nil && c.Sidecar && isStarted(c, s),
			s != nil && !c.Sidecar && s.State == schema.ContainerTerminated && s.ExitCode == 0:
			continue
		case s == nil:
			if verdict, ok := v.missing(c, PhasePending); ok {
				return verdict, false
			}
			pending.Message = "init container " + c.Name + " has not run yet"
		case hasEnded(s) && c.Sidecar, s.State == schema.ContainerTerminated:
			pending.Reason, pending.Message = ReasonCrashLoopBackOff, "init "+messageOf(s)
		case c.Sidecar:
			pending.Message = "sidecar " + c.Name + " " + notStarted(s)
		default:
			pending.Message = "init container " + c.Name + " has not ended yet"
		}
		if c.Sidecar && v.anyRegular(func(s *schema.ContainerStatus) bool { return s.State == schema.ContainerRunning }) {
			pending.Phase = PhaseRunning
		}
		return failing(v.status, pending), false
	}
	return Verdict{}, true
}

// assessContainers judges a pod whose init containers have ended.
func (v *view) assessContainers() Verdict {
	var missing, running, failed, restarting int
	var sick *schema.ContainerStatus
	for i := range v.pod.Containers {
		c := &v.pod.Containers[i]
		s := v.current(c)
		switch {
		case s == nil || s.State == schema.ContainerCreating:
			missing++
		case s.State == schema.ContainerRunning:
			running++
		case v.restarts(c, s):
			restarting++
			sick = s
		case s.ExitCode != 0:
			failed++
			sick = s
		}
	}
	switch {
	case missing > 0:
		return v.assessMissing(missing)
	case restarting > 0:
		return failing(v.status, Verdict{Phase: PhaseRunning, Reason: ReasonCrashLoopBackOff, Message: messageOf(sick)})
	case failed > 0:
		return Verdict{Phase: PhaseRunning, Reason: reasonOf(sick), Message: messageOf(sick)}
	}
	if words := v.unready(); words != "" {
		return Verdict{Phase: PhaseRunning, Reason: ReasonNotReady, Message: words}
	}
	return Verdict{Phase: PhaseRunning, Ready: running > 0}
}

// assessMissing judges a pod of which so many containers do not run as they should yet.
func (v *view) assessMissing(n int) Verdict {
	verdict := Verdict{Phase: PhasePending, Reason: ReasonContainerCreating, Message: "no container runs yet"}
	if n < len(v.pod.Containers) {
		verdict.Phase = PhaseRunning
		verdict.Message = fmt.Sprintf("%d of %d containers do not run yet", n, len(v.pod.Containers))
	}
	for i := range v.pod.Containers {
		c := &v.pod.Containers[i]
		if v.current(c) != nil {
			continue
		}
		if verdict, ok := v.missing(c, verdict.Phase); ok {
			return verdict
		}
	}
	return failing(v.status, verdict)
}

// unready says which container runs and is not ready, "" when none is.
func (v *view) unready() string {
	for _, list := range [][]schema.Container{v.pod.InitContainers, v.pod.Containers} {
		for i := range list {
			c := &list[i]
			s := findContainer(v.status, c.Name)
			switch {
			case s == nil || s.State != schema.ContainerRunning || isReady(c, s):
			case !isStarted(c, s):
				return "container " + c.Name + " is not ready: it " + notStarted(s)
			default:
				return "container " + c.Name + " is not ready" + because(probeWords(s, schema.ProbeReadiness))
			}
		}
	}
	return ""
}

// notStarted says that a container has not started, and what its startup probe last found.
func notStarted(s *schema.ContainerStatus) string {
	return "has not started yet" + because(probeWords(s, schema.ProbeStartup))
}

// probeWords say what a failing probe last found, "" when it did not fail.
func probeWords(s *schema.ContainerStatus, kind string) string {
	for _, p := range s.Probes {
		if p.Kind == kind && !p.OK {
			return strings.TrimSuffix(kind+" probe: "+p.Message, ": ")
		}
	}
	return ""
}

func reasonOf(s *schema.ContainerStatus) string {
	if s.Reason != "" {
		return s.Reason
	}
	return "Error"
}

func messageOf(s *schema.ContainerStatus) string {
	return "container " + s.Name + ": " + ending(s)
}
