package actual

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// statuses returns the mirror as pods, sorted by Ref. What did not change is not made again:
// there may be thousands. The caller holds o.mu.
func (o *Observer) statuses() []*schema.PodStatus {
	list := o.ofMachines()
	failures := o.failures.all()
	if len(failures) == 0 {
		return list
	}
	list = slices.Clone(list)
	var absent []*schema.PodStatus
	for ref, failed := range failures {
		status := schema.PodStatus{Ref: ref, Source: failed.Source, Machine: schema.MachineAbsent, Spec: failed.Spec}
		i, seen := slices.BinarySearchFunc(list, ref, statusAt)
		if seen {
			status = *list[i]
		}
		status.Failures = standing(failed.Failures, &status)
		if seen {
			list[i] = &status
		} else {
			absent = append(absent, &status)
		}
	}
	list = append(list, absent...)
	slices.SortFunc(list, compareRefs)
	return list
}

func compareRefs(a, b *schema.PodStatus) int { return a.Ref.Compare(b.Ref) }

func statusAt(s *schema.PodStatus, ref schema.Ref) int { return s.Ref.Compare(ref) }

// ofMachines returns the statuses of the machines, sorted by Ref: those of the last time where
// no machine came, went or changed its name, with what changed of them. The caller holds o.mu.
func (o *Observer) ofMachines() []*schema.PodStatus {
	changed := o.news
	o.news = nil
	if o.shown == nil {
		return o.shownAnew()
	}
	if len(changed) > 0 {
		o.shown = slices.Clone(o.shown)
	}
	for _, m := range changed {
		if o.machines[m.handle.ID()] != m {
			continue // a late word of one that is no more
		}
		if i, ok := slices.BinarySearchFunc(o.shown, m.made.Ref, statusAt); ok {
			o.shown[i] = m.status(m.made.Ref, o.hostIP)
		}
	}
	return o.shown
}

// shownAnew makes the list of statuses of the machines, and keeps it if each pod has one machine
// that was made for it. The caller holds o.mu.
func (o *Observer) shownAnew() []*schema.PodStatus {
	statuses := make(map[schema.Ref]*schema.PodStatus, len(o.machines))
	var unnamed []*machine
	for _, m := range o.machines {
		if m.made == nil {
			unnamed = append(unnamed, m)
			continue
		}
		put(statuses, m.status(m.made.Ref, o.hostIP))
	}
	o.putUnnamed(statuses, unnamed)
	list := slices.SortedFunc(maps.Values(statuses), compareRefs)
	if len(unnamed) == 0 && len(list) == len(o.machines) {
		o.shown = list
	}
	return list
}

// putUnnamed adds machines whose record is lost: under the name the guest says, unless
// another machine was made for that pod. One that nobody can name is left alone; it
// shows under its id.
func (o *Observer) putUnnamed(byRef map[schema.Ref]*schema.PodStatus, unnamed []*machine) {
	claims := make(map[*machine]schema.Ref)
	for _, m := range unnamed {
		if ref, ok := m.claimed(); ok && byRef[ref] == nil {
			claims[m] = ref
		}
	}
	for _, m := range unnamed {
		if ref, ok := claims[m]; ok {
			put(byRef, m.status(ref, o.hostIP))
			continue
		}
		s := *m.status(m.own(), o.hostIP)
		if s.Machine != schema.MachineDead {
			s.Machine = schema.MachineUnknown
		}
		s.Message = cmp.Or(s.Message, "what it was made for is not known")
		put(byRef, &s)
	}
}

// put adds a pod. Of two machines that claim to be one pod, which is right cannot be told
// here, so neither is touched.
func put(byRef map[schema.Ref]*schema.PodStatus, s *schema.PodStatus) {
	if other := byRef[s.Ref]; other != nil {
		first, second := s, other
		if first.UID > second.UID {
			first, second = second, first
		}
		both := *first
		both.Machine = schema.MachineUnknown
		both.Message = fmt.Sprintf("two machines claim to be this pod: %s and %s; delete the pod to end both", first.UID, second.UID)
		s = &both
	}
	byRef[s.Ref] = s
}

// standing leaves out what is remembered for the sake of back-off only: failures to get
// a machine that runs now.
func standing(all []schema.Failure, status *schema.PodStatus) []schema.Failure {
	if status.Machine != schema.MachineRunning || !status.Configured {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), ofBoot)
}

// status is the machine as a pod on the host of that address, not to be changed. The caller
// holds Observer.mu.
func (m *machine) status(ref schema.Ref, hostIP string) *schema.PodStatus {
	if m.view == nil || m.view.Ref != ref {
		s := m.look(ref, hostIP)
		m.view = &s
	}
	return m.view
}

func (m *machine) look(ref schema.Ref, hostIP string) schema.PodStatus {
	s := schema.PodStatus{
		Ref:         ref,
		UID:         m.handle.ID(),
		Machine:     schema.MachineUnknown,
		Message:     m.info.Message,
		Driver:      m.info.Driver,
		Accelerator: m.info.Accelerator,
		Guest:       m.info.Spec.Guest.Version,
		StartedAt:   m.info.StartedAt,
		IP:          m.ip(),
		HostIP:      hostIP,
		LogDir:      m.info.LogDir,
	}
	if m.made != nil {
		s.Spec, s.Source, s.VMDigest = m.made, m.made.Source, m.made.VMDigest()
	}
	s.Store.HostBytes = m.info.StoreHostBytes
	s.Store.TrimmedAt = m.trimmedAt
	switch {
	case m.info.State == driver.StateStopped:
		s.Machine = schema.MachineDead
	case m.silent != nil:
		s.Message = clean(m.silent.Error())
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
	s.AgentVersion = clean(m.pod.GetAgentVersion())
	s.BootID = clean(m.pod.GetBootId())
	if id := m.pod.GetPod(); id != nil {
		s.Configured = true
		if spec := decode[schema.Pod](id.GetManifest()); spec != nil && spec.Ref == s.Ref {
			s.Spec = spec
		}
		if s.Source == "" {
			s.Source = clean(id.GetSource())
		}
		if s.VMDigest == "" {
			s.VMDigest = clean(id.GetVmDigest())
		}
	}
	s.CreatedAt = timeOf(m.pod.GetCreatedAt())
	for _, c := range m.pod.GetContainers() {
		s.Containers = append(s.Containers, containerStatus(c, m.made))
	}
	for _, e := range m.pod.GetEmptyDirs() {
		s.EmptyDirs = append(s.EmptyDirs, emptyDirStatus(e))
	}
	for _, v := range m.pod.GetVolumes() {
		s.Volumes = append(s.Volumes, schema.VolumeStatus{
			Name: v.GetName(), Digest: clean(v.GetDigest()), Spec: decode[schema.Volume](v.GetManifest()), Disk: v.GetDisk(),
		})
	}
	if store := m.pod.GetStore(); store != nil {
		s.Store.SizeBytes = max(store.GetSizeBytes(), 0)
		s.Store.UsedBytes = max(store.GetUsedBytes(), 0)
		s.Store.Templates = int(max(store.GetTemplates(), 0))
	}
}

func containerStatus(c *agentpb.ContainerState, made *schema.Pod) schema.ContainerStatus {
	s := schema.ContainerStatus{
		Name:         c.GetName(),
		Init:         c.GetInit(),
		Digest:       clean(c.GetDigest()),
		Spec:         recorded(c, made),
		State:        containerState(c.GetState()),
		ID:           clean(c.GetId()),
		Image:        clean(c.GetImage()),
		ImageID:      clean(c.GetImageId()),
		PID:          int(max(c.GetPid(), 0)),
		StartedAt:    timeOf(c.GetStartedAt()),
		FinishedAt:   timeOf(c.GetFinishedAt()),
		ExitCode:     int(c.GetExitCode()),
		Reason:       clean(c.GetReason()),
		Message:      clean(c.GetMessage()),
		RestartCount: int(c.GetRestartCount()),
		Started:      c.GetStarted(),
		Ready:        c.GetReady(),
	}
	for _, p := range c.GetProbes() {
		s.Probes = append(s.Probes, schema.ProbeStatus{
			Kind: p.GetKind(), OK: p.GetOk(), Failures: int(min(p.GetFailures(), maxFailures)),
			Message: clean(p.GetMessage()), At: timeOf(p.GetAt()),
		})
	}
	for _, r := range c.GetRuns() {
		s.Runs = append(s.Runs, schema.Run{
			Digest:     clean(r.GetDigest()),
			ID:         clean(r.GetId()),
			StartedAt:  timeOf(r.GetStartedAt()),
			FinishedAt: timeOf(r.GetFinishedAt()),
			ExitCode:   int(r.GetExitCode()),
			Reason:     clean(r.GetReason()),
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

// recorded is a container as its record says. While it is the one that its machine was made
// with, as it mostly is, it is that one: there may be thousands.
func recorded(c *agentpb.ContainerState, made *schema.Pod) *schema.Container {
	if made != nil {
		for _, list := range [][]schema.Container{made.InitContainers, made.Containers} {
			for i := range list {
				if list[i].Name != c.GetName() {
					continue
				}
				if text, err := json.Marshal(&list[i]); err == nil && bytes.Equal(text, c.GetManifest()) {
					return &list[i]
				}
			}
		}
	}
	return decode[schema.Container](c.GetManifest())
}

func emptyDirStatus(e *agentpb.EmptyDirState) schema.EmptyDirStatus {
	s := schema.EmptyDirStatus{
		Name:           e.GetName(),
		Digest:         clean(e.GetDigest()),
		SizeLimitBytes: max(e.GetSizeLimitBytes(), 0),
		UsedBytes:      max(e.GetUsedBytes(), 0),
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

// maxText bounds a text of the guest's that is shown to people.
const maxText = 1 << 10

// clean makes a guest's text safe to show on a terminal.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
