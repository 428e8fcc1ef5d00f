package reconcile

import (
	"slices"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// model is a world in which every action works at once: machines boot, containers start
// and keep running and are ready, init containers and those of Jobs end well. It shows a
// plan to its end, and is the oracle of the property tests; it does not know the planner's
// rules.
type model struct {
	pods map[schema.Ref]*schema.PodStatus
	now  time.Time
}

func newModel(actual schema.ActualState, now time.Time) *model {
	m := &model{pods: make(map[schema.Ref]*schema.PodStatus, len(actual.Pods)), now: now}
	for _, seen := range sortedStatuses(actual) {
		p := *seen
		p.Containers = slices.Clone(p.Containers)
		p.EmptyDirs = slices.Clone(p.EmptyDirs)
		p.Volumes = slices.Clone(p.Volumes)
		p.Failures = slices.Clone(p.Failures)
		m.pods[p.Ref] = &p
	}
	return m
}

// state is what an observer of the model sees.
func (m *model) state() schema.ActualState {
	s := schema.ActualState{Known: true}
	for _, p := range m.pods {
		seen := *p
		seen.Containers, seen.EmptyDirs, seen.Volumes = slices.Clone(p.Containers), slices.Clone(p.EmptyDirs), slices.Clone(p.Volumes)
		s.Pods = append(s.Pods, &seen)
	}
	slices.SortFunc(s.Pods, func(a, b *schema.PodStatus) int { return a.Ref.Compare(b.Ref) })
	return s
}

// apply does one action.
func (m *model) apply(a Action) {
	if a.Kind == KindPod {
		m.applyPod(a)
		return
	}
	p := m.pods[a.Pod]
	if p == nil {
		return
	}
	p.Failures = slices.DeleteFunc(p.Failures, func(f schema.Failure) bool { return f.Kind == string(a.Kind) && f.Name == a.Name })
	switch a.Kind {
	case KindEmptyDir:
		m.applyEmptyDir(p, a)
	case KindVolume:
		m.applyVolume(p, a)
	default:
		m.applyContainer(p, a)
	}
}

func (m *model) applyPod(a Action) {
	p := m.pods[a.Pod]
	switch a.Type {
	case Remove:
		delete(m.pods, a.Pod)
	case Trim:
		p.Store.HostBytes, p.Store.TrimmedAt = p.Store.UsedBytes, m.now
	case Add:
		if p == nil {
			p = &schema.PodStatus{Ref: a.Pod, CreatedAt: m.now}
			m.pods[a.Pod] = p
		}
		p.Machine, p.Configured, p.Message = schema.MachineRunning, true, ""
		p.Source, p.Spec, p.VMDigest = a.Spec.Source, a.Spec, a.Spec.VMDigest()
		p.Failures = slices.DeleteFunc(p.Failures, func(f schema.Failure) bool { return f.Kind == string(KindPod) })
	}
}

func (m *model) applyEmptyDir(p *schema.PodStatus, a Action) {
	p.EmptyDirs = slices.DeleteFunc(p.EmptyDirs, func(e schema.EmptyDirStatus) bool { return e.Name == a.Name })
	if a.Type == Add {
		e := a.Spec.EmptyDir(a.Name)
		p.EmptyDirs = append(p.EmptyDirs, schema.EmptyDirStatus{
			Name: e.Name, Digest: e.Digest(), Medium: e.Medium, SizeLimitBytes: e.SizeLimitBytes,
		})
	}
}

func (m *model) applyVolume(p *schema.PodStatus, a Action) {
	p.Volumes = slices.DeleteFunc(p.Volumes, func(v schema.VolumeStatus) bool { return v.Name == a.Name })
	if a.Type == Add {
		v := a.Spec.Volume(a.Name)
		p.Volumes = append(p.Volumes, schema.VolumeStatus{Name: v.Name, Digest: v.Digest(), Spec: v})
	}
}

func (m *model) applyContainer(p *schema.PodStatus, a Action) {
	i := slices.IndexFunc(p.Containers, func(c schema.ContainerStatus) bool { return c.Name == a.Name })
	switch a.Type {
	case Remove:
		if i >= 0 {
			p.Containers = slices.Delete(p.Containers, i, i+1)
		}
	case Wait:
		if i >= 0 {
			p.Containers[i].State = schema.ContainerTerminated
		}
	case Add:
		c := a.Spec.Container(a.Name)
		s := schema.ContainerStatus{
			Name: c.Name, Digest: c.Digest(), Spec: c, Image: c.Image,
			State: schema.ContainerRunning, StartedAt: m.now,
			Init: slices.ContainsFunc(a.Spec.InitContainers, func(x schema.Container) bool { return x.Name == c.Name }),
		}
		if s.Init && !c.Sidecar || a.Spec.Job != nil && !c.Sidecar {
			s.State, s.FinishedAt = schema.ContainerExited, m.now
		} else {
			s.Started, s.Ready = true, true
		}
		if i >= 0 {
			p.Containers[i] = s
		} else {
			p.Containers = append(p.Containers, s)
		}
	}
}
