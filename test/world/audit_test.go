package world

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// audit looks at what truly is after a step, and remembers what it needs for the next.
type audit struct {
	// ids are the runs of containers that were last seen running, by machine and name.
	ids map[string]map[string]string
	// steady are those of pods that were as they should be, and to which nothing happened
	// since that is a reason to change anything.
	steady map[string]map[string]string
	// disturbed is when something last happened to a pod, "" is all of them; armed: a machine
	// may panic at any moment.
	disturbed map[string]time.Time
	armed     bool
}

func newAudit() *audit {
	return &audit{
		ids: make(map[string]map[string]string), steady: make(map[string]map[string]string), disturbed: make(map[string]time.Time),
	}
}

// consequences is how long something that happens may take to show: a call that was sent
// comes to its end, a failing probe ends its container, and that is started again.
const consequences = 2 * time.Minute

// disturb notes that something happened to a pod; "" is all of them.
func (a *audit) disturb(pod string) {
	a.disturbed[pod] = time.Now()
	if pod == "" {
		clear(a.steady)
		return
	}
	delete(a.steady, pod)
}

// calm tells whether all that happened to a pod has had its consequences.
func (a *audit) calm(pod string) bool {
	for _, of := range []string{pod, ""} {
		if at, ok := a.disturbed[of]; ok && time.Since(at) < consequences {
			return false
		}
	}
	return !a.armed
}

// step judges what is after a step.
func (a *audit) step(ctx context.Context, w *world) error {
	all, err := w.host.look(ctx)
	if err != nil {
		return err
	}
	live := make(map[string]int)
	for _, s := range all {
		if !s.live {
			continue
		}
		if live[s.pod]++; live[s.pod] > 1 {
			w.story.wrong(twoMachines, "pod %s has %d live machines", s.pod, live[s.pod])
		}
		if s.guest != nil {
			a.runs(w, s)
		}
	}
	a.undisturbed(w, all)
	pods, err := w.dir.resolved()
	if err != nil {
		return err
	}
	for _, pod := range pods {
		name := pod.Name
		if a.steady[name] != nil || !a.calm(name) || w.ledger.busy(name) {
			continue
		}
		if differs(pod, all) == "" {
			a.steady[name] = standing(pod, all)
		}
	}
	return nil
}

// runs judges the runs of a machine's containers: one that gave way to another has ended.
func (a *audit) runs(w *world, s seen) {
	before := a.ids[s.id]
	now := make(map[string]string)
	for _, c := range s.guest.GetContainers() {
		id := before[c.GetName()]
		ended := func(r *agentpb.Run) bool { return r.GetId() == id }
		if id != "" && c.GetId() != id && len(c.GetRuns()) < schema.MaxRuns && !slices.ContainsFunc(c.GetRuns(), ended) {
			w.story.wrong(twice, "container %s of pod %s: run %s began, and of run %s there is no end", c.GetName(), s.pod, c.GetId(), id)
		}
		if c.GetState() == agentpb.ContainerState_RUNNING {
			now[c.GetName()] = c.GetId()
		}
	}
	a.ids[s.id] = now
}

// undisturbed judges pods to which nothing happened: they still are what they were.
func (a *audit) undisturbed(w *world, all []seen) {
	for pod, want := range a.steady {
		got := make(map[string]string)
		unheard := false
		for _, s := range all {
			if s.pod != pod {
				continue
			}
			unheard = unheard || s.live && s.guest == nil
			for _, c := range s.guest.GetContainers() {
				if c.GetState() == agentpb.ContainerState_RUNNING {
					got[s.id+"/"+c.GetName()] = c.GetId()
				}
			}
		}
		for what, id := range want {
			if got[what] != id && !unheard {
				w.story.wrong(noReason, "%s of pod %s was run %s and is %q", what, pod, id, got[what])
			}
		}
	}
}

// standing are the containers of a pod that run and do not end by themselves, nor with others
// of the pod.
func standing(pod *schema.Pod, all []seen) map[string]string {
	ids := make(map[string]string)
	for _, s := range all {
		if s.pod != pod.Name {
			continue
		}
		for _, c := range s.guest.GetContainers() {
			want := pod.Container(c.GetName())
			if want == nil || endsByItself(want) || want.Sidecar && pod.RestartPolicy != schema.RestartAlways {
				continue
			}
			if c.GetState() == agentpb.ContainerState_RUNNING {
				ids[s.id+"/"+c.GetName()] = c.GetId()
			}
		}
	}
	return ids
}

// differs says how a pod is not as it should be, "" if it is.
func differs(pod *schema.Pod, all []seen) string {
	var its []seen
	for _, s := range all {
		if s.pod == pod.Name {
			its = append(its, s)
		}
	}
	switch {
	case len(its) != 1:
		return fmt.Sprintf("it has %d machines", len(its))
	case its[0].guest == nil:
		return "its machine does not run"
	case its[0].guest.GetPod().GetVmDigest() != pod.VMDigest():
		return "its VM is of another kind, or not set up"
	}
	guest := its[0].guest
	for i := range pod.EmptyDirs {
		e := &pod.EmptyDirs[i]
		if !slices.ContainsFunc(guest.GetEmptyDirs(), func(s *agentpb.EmptyDirState) bool {
			return s.GetName() == e.Name && s.GetDigest() == e.Digest()
		}) {
			return "emptyDir " + e.Name + " is not as it should be"
		}
	}
	for i := range pod.Volumes {
		v := &pod.Volumes[i]
		if !slices.ContainsFunc(guest.GetVolumes(), func(s *agentpb.VolumeState) bool {
			return s.GetName() == v.Name && s.GetDigest() == v.Digest()
		}) {
			return "volume " + v.Name + " is not as it should be"
		}
	}
	if n, m := len(pod.EmptyDirs)+len(pod.Volumes), len(guest.GetEmptyDirs())+len(guest.GetVolumes()); n != m {
		return fmt.Sprintf("it has %d volumes, not %d", m, n)
	}
	return containersDiffer(pod, guest.GetContainers())
}

func containersDiffer(pod *schema.Pod, list []*agentpb.ContainerState) string {
	failed := false // an init container has, for good
	for i := range pod.InitContainers {
		c := &pod.InitContainers[i]
		s := find(list, c.Name)
		if !c.Sidecar && s.GetDigest() == c.Digest() && s.GetState() == agentpb.ContainerState_TERMINATED && s.GetExitCode() != 0 {
			failed = failed || pod.RestartPolicy == schema.RestartNever
		}
	}
	over := failed || allEnded(pod, list)
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		s := find(list, c.Name)
		running := s.GetState() == agentpb.ContainerState_RUNNING
		ended := s.GetState() == agentpb.ContainerState_TERMINATED
		isInit := pod.Container(c.Name) != nil && slices.ContainsFunc(pod.InitContainers, func(i schema.Container) bool { return i.Name == c.Name })
		switch {
		case s == nil && over:
		case s == nil:
			return "container " + c.Name + " is not there"
		case s.GetDigest() != c.Digest():
			return "container " + c.Name + " is of another spec"
		case c.Sidecar && (running && s.GetStarted() || over):
		case isInit && !c.Sidecar && ended && (s.GetExitCode() == 0 || over):
		case isInit:
			return fmt.Sprintf("init container %s is %s", c.Name, s.GetState())
		case running && (!c.Sidecar && !endsByItself(&c)) && (c.Readiness == nil || s.GetReady()):
		case ended && pod.RestartPolicy == schema.RestartNever:
		case ended && pod.RestartPolicy == schema.RestartOnFailure && s.GetExitCode() == 0:
		default:
			return fmt.Sprintf("container %s is %s (ready %v, exit code %d)", c.Name, s.GetState(), s.GetReady(), s.GetExitCode())
		}
	}
	if n, m := len(pod.InitContainers)+len(pod.Containers), len(list); m > n {
		return fmt.Sprintf("%d containers too many", m-n)
	}
	return ""
}

// allEnded tells whether all regular containers have ended, for good.
func allEnded(pod *schema.Pod, list []*agentpb.ContainerState) bool {
	for i := range pod.Containers {
		s := find(list, pod.Containers[i].Name)
		if s.GetState() != agentpb.ContainerState_TERMINATED || s.GetDigest() != pod.Containers[i].Digest() {
			return false
		}
	}
	return pod.RestartPolicy != schema.RestartAlways
}

func find(list []*agentpb.ContainerState, name string) *agentpb.ContainerState {
	i := slices.IndexFunc(list, func(c *agentpb.ContainerState) bool { return c.GetName() == name })
	if i < 0 {
		return nil
	}
	return list[i]
}

// endsByItself tells whether a container's command ends without being told to.
func endsByItself(c *schema.Container) bool {
	return c != nil && len(c.Command) == 3 && len(c.Command[2]) > 5 && c.Command[2][:5] == "sleep"
}
