package kube

import (
	"fmt"
	"time"

	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Reasons of waiting containers; the words are the kubelet's.
const (
	reasonCreating     = "ContainerCreating"
	reasonInitializing = "PodInitializing"
	reasonCrashLoop    = "CrashLoopBackOff"
	reasonPull         = "ErrImagePull"
	reasonPullBackOff  = "ImagePullBackOff"
)

// containers returns the statuses of the pod's init or other containers: all that
// are declared, in that order, then those that still exist and no longer are.
func containers(s *schema.PodStatus, init bool) []ContainerStatus {
	list := []ContainerStatus{}
	declared := map[string]bool{}
	waitFor := reasonCreating
	if !init && !initialized(s) {
		waitFor = reasonInitializing
	}
	if s.Spec != nil {
		specs := s.Spec.Containers
		if init {
			specs = s.Spec.InitContainers
		}
		for i := range specs {
			declared[specs[i].Name] = true
			seen := find(s, specs[i].Name)
			if seen == nil {
				list = append(list, missing(s, &specs[i], waitFor))
				continue
			}
			list = append(list, container(s, seen))
		}
	}
	for i := range s.Containers {
		c := &s.Containers[i]
		if c.Init == init && !declared[c.Name] {
			list = append(list, container(s, c))
		}
	}
	return list
}

func find(s *schema.PodStatus, name string) *schema.ContainerStatus {
	for i := range s.Containers {
		if s.Containers[i].Name == name {
			return &s.Containers[i]
		}
	}
	return nil
}

// missing is a container that is declared and not there.
func missing(s *schema.PodStatus, c *schema.Container, reason string) ContainerStatus {
	waiting := &Waiting{Reason: reason}
	if f := failure(s, schema.Failure{Kind: "container", Name: c.Name}); f != nil {
		waiting = failed(f)
	}
	return ContainerStatus{Name: c.Name, Image: c.Image, State: ContainerState{Waiting: waiting}}
}

// container is a container that its VM reports.
func container(s *schema.PodStatus, c *schema.ContainerStatus) ContainerStatus {
	out := ContainerStatus{
		Name:         c.Name,
		Image:        c.Image,
		ImageID:      c.ImageID,
		ContainerID:  containerID(s.UID, c.ID),
		RestartCount: c.RestartCount,
		LastState:    lastState(s, c),
	}
	switch c.State {
	case schema.ContainerRunning:
		out.State.Running = &RunState{StartedAt: second(c.StartedAt)}
		out.Started = c.Started
		out.Ready = c.Ready && s.Machine == schema.MachineRunning
	case schema.ContainerExited, schema.ContainerTerminated:
		ended := &Terminated{
			ExitCode:    c.ExitCode,
			Reason:      endReason(c.Reason, c.ExitCode),
			Message:     c.Message,
			StartedAt:   second(c.StartedAt),
			FinishedAt:  second(c.FinishedAt),
			ContainerID: out.ContainerID,
		}
		out.Ready = c.Init && c.ExitCode == 0 && !isSidecar(s.Spec, c.Name)
		out.State.Terminated = ended
		if waiting := restartWaiting(s, c); waiting != nil {
			out.State, out.LastState = ContainerState{Waiting: waiting}, ContainerState{Terminated: ended}
		}
	default:
		out.State.Waiting = &Waiting{Reason: reasonCreating}
	}
	return out
}

// restartWaiting says what an ended container waits for, nil when it will not be
// started again or has only just ended.
func restartWaiting(s *schema.PodStatus, c *schema.ContainerStatus) *Waiting {
	if !WillRestart(s.Spec, c) {
		return nil
	}
	if f := failure(s, schema.Failure{Kind: "container", Name: c.Name}); f != nil {
		return failed(f)
	}
	if c.State != schema.ContainerTerminated {
		return nil
	}
	return &Waiting{
		Reason: reasonCrashLoop,
		Message: fmt.Sprintf("container %s of pod %s ended and is started again after a back-off, at %s",
			c.Name, s.Ref, reconcile.RestartDue(c).UTC().Format(time.RFC3339)),
	}
}

// WillRestart tells whether an ended container is to be started again by its pod's
// restart policy. Nothing is known without a spec; then it is not.
func WillRestart(pod *schema.Pod, c *schema.ContainerStatus) bool {
	if pod == nil {
		return false
	}
	switch policy := pod.RestartPolicy; {
	case isSidecar(pod, c.Name):
		return true
	case policy == schema.RestartNever:
		return false
	case policy == schema.RestartOnFailure:
		return c.ExitCode != 0
	default:
		return !c.Init || c.ExitCode != 0
	}
}

func isSidecar(pod *schema.Pod, name string) bool {
	if pod == nil {
		return false
	}
	c := pod.Container(name)
	return c != nil && c.Sidecar
}

func lastState(s *schema.PodStatus, c *schema.ContainerStatus) ContainerState {
	for i := len(c.Runs) - 1; i >= 0; i-- {
		run := c.Runs[i]
		if run.ID == c.ID {
			continue
		}
		return ContainerState{Terminated: &Terminated{
			ExitCode:    run.ExitCode,
			Reason:      endReason(run.Reason, run.ExitCode),
			StartedAt:   second(run.StartedAt),
			FinishedAt:  second(run.FinishedAt),
			ContainerID: containerID(s.UID, run.ID),
		}}
	}
	return ContainerState{}
}

func failure(s *schema.PodStatus, of schema.Failure) *schema.Failure {
	for i := range s.Failures {
		f := &s.Failures[i]
		if f.Kind == of.Kind && (of.Name == "" || f.Name == of.Name) {
			return f
		}
	}
	return nil
}

func failed(f *schema.Failure) *Waiting {
	reason := f.Reason
	if reason == reasonPull && f.Attempts > 1 {
		reason = reasonPullBackOff
	}
	return &Waiting{Reason: reason, Message: f.Message}
}

func endReason(reason string, code int) string {
	switch {
	case reason != "":
		return reason
	case code == 0:
		return "Completed"
	default:
		return "Error"
	}
}

func containerID(uid, id string) string {
	if id == "" {
		return ""
	}
	return "firkin://" + uid + "/" + id
}

// second is t as Kubernetes writes times: UTC, whole seconds.
func second(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
