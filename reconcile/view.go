package reconcile

import (
	"slices"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// view is one pod as it is wanted and as it was seen; its methods tell what follows from
// the two and the time alone. The planner and the verdict share it, so that they agree.
type view struct {
	clock
	pod    *schema.Pod
	status *schema.PodStatus // never nil
	// digests are those of the pod's containers that were asked for.
	digests map[string]string
}

// digest is the digest of one of the pod's containers, computed once.
func (v *view) digest(c *schema.Container) string {
	if d, ok := v.digests[c.Name]; ok {
		return d
	}
	if v.digests == nil {
		v.digests = make(map[string]string, len(v.pod.InitContainers)+len(v.pod.Containers))
	}
	d := c.Digest()
	v.digests[c.Name] = d
	return d
}

// current is the status of a container as it is wanted: nil when there is none, or one of
// another spec.
func (v *view) current(c *schema.Container) *schema.ContainerStatus {
	s := findContainer(v.status, c.Name)
	if s == nil || s.Digest != v.digest(c) {
		return nil
	}
	return s
}

func (v *view) isInit(name string) bool {
	return slices.ContainsFunc(v.pod.InitContainers, func(c schema.Container) bool { return c.Name == name })
}

// restarts tells whether a container that ended is started again by itself. Sidecars
// always are, as long as the pod goes on.
func (v *view) restarts(c *schema.Container, s *schema.ContainerStatus) bool {
	switch {
	case c.Sidecar:
		return true
	case v.isInit(c.Name):
		return s.ExitCode != 0 && v.pod.RestartPolicy != schema.RestartNever && !v.exhausted()
	default:
		return restarts(v.pod.RestartPolicy, s.ExitCode) && !v.exhausted()
	}
}

// restarts tells whether a regular container that ended is started again.
func restarts(policy schema.RestartPolicy, exitCode int) bool {
	return policy == schema.RestartAlways || policy == schema.RestartOnFailure && exitCode != 0
}

// done tells whether a container ended and is not started again.
func (v *view) done(c *schema.Container, s *schema.ContainerStatus) bool {
	return hasEnded(s) && !v.restarts(c, s)
}

// hasEnded tells whether a container has ended, reaped or not.
func hasEnded(s *schema.ContainerStatus) bool {
	return s.State == schema.ContainerTerminated || s.State == schema.ContainerExited
}

// isStarted tells whether a running container is past its postStart hook and its startup
// probe; the agent of an older guest says nothing of it, and knew of neither.
func isStarted(c *schema.Container, s *schema.ContainerStatus) bool {
	return s.State == schema.ContainerRunning && (s.Started || c.Startup == nil && c.PostStart == nil)
}

// isReady tells whether a container may be counted on.
func isReady(c *schema.Container, s *schema.ContainerStatus) bool {
	return isStarted(c, s) && (s.Ready || c.Readiness == nil)
}

func findContainer(s *schema.PodStatus, name string) *schema.ContainerStatus {
	for i := range s.Containers {
		if s.Containers[i].Name == name {
			return &s.Containers[i]
		}
	}
	return nil
}

func findEmptyDir(s *schema.PodStatus, name string) *schema.EmptyDirStatus {
	for i := range s.EmptyDirs {
		if s.EmptyDirs[i].Name == name {
			return &s.EmptyDirs[i]
		}
	}
	return nil
}

func findVolume(s *schema.PodStatus, name string) *schema.VolumeStatus {
	for i := range s.Volumes {
		if s.Volumes[i].Name == name {
			return &s.Volumes[i]
		}
	}
	return nil
}
