package actual

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// annotationPod keeps the pod a machine was made for, as JSON, with the machine.
const annotationPod = "pod"

var errNotAsked = errors.New("it was not asked yet")

// machine is one machine and what it last said. Its fields are guarded by Observer.mu.
type machine struct {
	handle driver.Machine
	// born is the tick at which it came into the mirror.
	born uint64
	info driver.Info
	// made is the pod it was made for, decoded from madeText; nil when that is lost.
	made     *schema.Pod
	madeText string
	// pod is the agent's last word in this life of the machine, nil when there is none.
	pod *agentpb.PodState
	// silent is why the agent cannot be heard at the moment, nil when it can.
	silent    error
	trimmedAt time.Time
	// ending: its end is accounted for, or wanted; it is not a death.
	ending bool
	// asks counts questions, answered is the latest one whose answer was taken: answers
	// may overtake each other, and one from before a boot is of another life.
	asks, answered uint64
	// askedAt is when it was last asked. streaming: its events are followed.
	askedAt   time.Time
	streaming bool
	// view is the status made of the above, never changed; nil after a change.
	view *schema.PodStatus
	// left are disks of containers that are being replaced, by their names; see letGoLeft.
	left map[string]string
	// adding is held (for reading) while a volume is added, whose disk the agent may not know of yet.
	adding sync.RWMutex
	// kick tells the follower that the machine was booted.
	kick chan struct{}
	stop context.CancelFunc // ends following it; nil when not followed
}

func newMachine(handle driver.Machine, born uint64) *machine {
	m := &machine{handle: handle, born: born, silent: errNotAsked, kick: make(chan struct{}, 1)}
	m.info.State = driver.StateUnknown
	return m
}

// know takes what the driver knows; it says whether that is news.
func (m *machine) know(info driver.Info) bool {
	if text := info.Spec.Annotations[annotationPod]; text != m.madeText {
		if id := m.pod.GetPod(); id != nil && len(id.GetManifest()) == 0 {
			id.Manifest = []byte(m.madeText) // see accept
		}
		m.madeText, m.made = text, decodePod([]byte(text))
	}
	old := m.info
	m.info = info
	if info.State == driver.StateStopped {
		m.pod = nil
	} else if old.State == driver.StateStopped && !info.StartedAt.Equal(old.StartedAt) {
		m.ending = false // somebody else started it again
	}
	return old.State != info.State || old.Message != info.Message || old.StoreHostBytes != info.StoreHostBytes ||
		!old.StartedAt.Equal(info.StartedAt) || old.LogDir != info.LogDir || old.Driver != info.Driver ||
		old.Accelerator != info.Accelerator || old.Spec.Guest.Version != info.Spec.Guest.Version ||
		old.Spec.Network.Address != info.Spec.Network.Address
}

// accept takes a newer word of the agent; it says whether it is news. An older one of
// the same boot is dropped.
func (m *machine) accept(pod *agentpb.PodState) bool {
	if m.pod != nil && m.pod.GetBootId() == pod.GetBootId() && m.pod.GetRevision() > pod.GetRevision() {
		return false
	}
	// The pod as the guest keeps it, for when the host loses its record, is kept here only
	// where it differs from that: there may be thousands.
	if id := pod.GetPod(); id != nil && string(id.GetManifest()) == m.madeText {
		id.Manifest = nil
	}
	news := !proto.Equal(m.pod, pod)
	m.pod = pod
	return news
}

// booted forgets what was said before this boot, and wakes the follower. The caller holds o.mu.
func (o *Observer) booted(m *machine) {
	m.asks++
	m.answered = m.asks
	m.info.State = driver.StateUnknown
	m.pod, m.silent, m.ending = nil, errNotAsked, false
	o.outdate(m)
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// up tells whether the agent was heard in this life of the machine.
func (m *machine) up() bool { return m.info.State != driver.StateStopped && m.pod != nil }

// claimed is the pod the guest says it is; it counts only where the host's record is lost.
func (m *machine) claimed() (schema.Ref, bool) {
	id := m.pod.GetPod()
	ref := schema.Ref{Namespace: id.GetNamespace(), Name: id.GetName()}
	return ref, m.made == nil && validRef(ref)
}

// own is the name of a machine that nobody can name otherwise.
func (m *machine) own() schema.Ref { return schema.Ref{Name: m.handle.ID()} }

// decodePod returns the pod that JSON says, nil when it names none.
func decodePod(b []byte) *schema.Pod {
	pod := decode[schema.Pod](b)
	if pod == nil || !validRef(pod.Ref) {
		return nil
	}
	return pod
}

// validRef tells whether a name read from outside can be a pod's: it becomes part of a
// file name and is shown to people.
func validRef(ref schema.Ref) bool {
	for _, s := range []string{ref.Namespace, ref.Name} {
		if s == "" || len(s) > maxNameBytes || s[0] == '.' {
			return false
		}
		for i := range len(s) {
			if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
				return false
			}
		}
	}
	return true
}
