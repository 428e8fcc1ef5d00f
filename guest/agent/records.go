package agent

import (
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// maxRuns bounds the ended runs that are remembered per container name.
const maxRuns = 8

// Reasons of a container's end.
const (
	reasonCompleted   = "Completed"
	reasonError       = "Error"
	reasonOOMKilled   = "OOMKilled"
	reasonMachineDied = "MachineDied"
	reasonStartError  = "StartError"
)

// exitStartError is the exit code of a container that did not start and could not
// be cleaned up, as container engines give it.
const exitStartError = 128

// exitMachineDied is the exit code of a container whose machine died under it.
const exitMachineDied = 255

// history is what is known about a container name beyond any one start of it.
type history struct {
	// Order is the place of the name among the pod's containers.
	Order int `json:"order"`
	// Starts counts the starts so far.
	Starts uint32 `json:"starts"`
	// Runs are the last ended runs, oldest first.
	Runs []run `json:"runs,omitempty"`
}

func (h *history) add(r run) {
	h.Runs = append(h.Runs, r)
	if n := len(h.Runs); n > maxRuns {
		h.Runs = append([]run(nil), h.Runs[n-maxRuns:]...)
	}
}

// run is one ended run.
type run struct {
	Digest     string    `json:"digest"`
	ID         string    `json:"id"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`
	ExitCode   int       `json:"exitCode"`
	Reason     string    `json:"reason"`
}

// record is one start of a container, in the form that is kept on the store.
type record struct {
	Name       string    `json:"name"`
	Init       bool      `json:"init,omitempty"`
	Sidecar    bool      `json:"sidecar,omitempty"`
	Digest     string    `json:"digest"`
	Manifest   []byte    `json:"manifest,omitempty"`
	Image      string    `json:"image,omitempty"`
	ImageID    string    `json:"imageID,omitempty"`
	RootfsDisk string    `json:"rootfsDisk,omitempty"`
	Volumes    []string  `json:"emptyDirs,omitempty"` // all that it mounts, of any kind
	ID         string    `json:"id"`
	State      state     `json:"state"`
	Restarts   uint32    `json:"restarts"`
	CreatedAt  time.Time `json:"createdAt"`
	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
	ExitCode   int       `json:"exitCode,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	Message    string    `json:"message,omitempty"`
	Tail       []byte    `json:"tail,omitempty"`
}

// state of a container, as written to the store.
type state string

const (
	stateCreating   state = "creating"
	stateRunning    state = "running"
	stateExited     state = "exited"
	stateTerminated state = "terminated"
)

func (s state) proto() agentpb.ContainerState_State {
	switch s {
	case stateCreating:
		return agentpb.ContainerState_CREATING
	case stateRunning:
		return agentpb.ContainerState_RUNNING
	case stateExited:
		return agentpb.ContainerState_EXITED
	case stateTerminated:
		return agentpb.ContainerState_TERMINATED
	}
	return agentpb.ContainerState_STATE_UNSPECIFIED
}

func newRecord(spec *agentpb.ContainerSpec, restarts uint32) record {
	r := record{
		Name:       spec.GetName(),
		Init:       spec.GetInit(),
		Sidecar:    spec.GetSidecar(),
		Digest:     spec.GetDigest(),
		Manifest:   spec.GetManifest(),
		Image:      spec.GetImage(),
		ImageID:    spec.GetImageId(),
		RootfsDisk: spec.GetRootfsDisk(),
		ID:         containerID(spec.GetName(), restarts),
		State:      stateCreating,
		Restarts:   restarts,
		CreatedAt:  time.Now(),
	}
	for _, m := range spec.GetMounts() {
		r.Volumes = append(r.Volumes, m.GetVolume())
	}
	return r
}

// containerID is unique per start: what follows the last "-" is the count, all before it the name.
func containerID(name string, restarts uint32) string {
	return name + "-" + strconv.FormatUint(uint64(restarts), 10)
}

// exited notes how the container's process ended.
func (r *record) exited(e Exit) {
	r.State = stateExited
	r.FinishedAt = e.At
	if r.FinishedAt.IsZero() {
		r.FinishedAt = time.Now()
	}
	r.ExitCode = e.Code
	switch {
	case e.OOMKilled:
		r.Reason = reasonOOMKilled
	case e.Code == 0:
		r.Reason = reasonCompleted
	default:
		r.Reason = reasonError
	}
}

// died notes that the machine died while the container was made or ran.
func (r *record) died(now time.Time) {
	r.State = stateExited
	if r.StartedAt.IsZero() {
		r.StartedAt = r.CreatedAt
	}
	r.FinishedAt = now
	r.ExitCode = exitMachineDied
	r.Reason = reasonMachineDied
	r.Message = "the machine died while the container ran"
}

// botched notes that the container did not start and still holds resources.
func (r *record) botched(cause error) {
	r.State = stateExited
	r.StartedAt = r.CreatedAt
	r.FinishedAt = time.Now()
	r.ExitCode = exitStartError
	r.Reason = reasonStartError
	r.Message = bounded(cause.Error(), maxText)
}

// run is the ended run of this record.
func (r *record) run() run {
	return run{
		Digest:     r.Digest,
		ID:         r.ID,
		StartedAt:  r.StartedAt,
		FinishedAt: r.FinishedAt,
		ExitCode:   r.ExitCode,
		Reason:     r.Reason,
	}
}

// container is one start of a container, as it is now. Its fields are the agent's,
// under its lock.
type container struct {
	record
	proc Process
	pid  int
	out  *output
	// busy is the slow work under way on it, nil when there is none.
	busy *operation
	// ended is closed when the process has ended and that was noted.
	ended chan struct{}
	// before is the terminated record that this start replaces, if any.
	before *container
	care   care
	// started: postStart and the startup probe have succeeded.
	started bool
	// ending is its way to its end, once that was begun from outside.
	ending *ending
	// quit is closed when it is not to be attended any more; nil: it is not.
	quit chan struct{}
}

// leave ends what the agent does for it while it runs. Agent.mu is held.
func (c *container) leave() {
	if c.quit != nil {
		close(c.quit)
		c.quit = nil
	}
}

// gone tells whether the process of a started container has ended, noted or not.
func (c *container) gone() bool {
	select {
	case <-c.proc.Done():
		return true
	default:
		return false
	}
}

// concluded adds to the record of a container that has just exited what it said at its end, and
// why the agent ended it. An exit code of 0 tells nothing then: it counts as if the signal had
// ended the process.
func (c *container) concluded(message string) {
	c.Message = message
	if c.ending == nil || c.ending.why == "" {
		return
	}
	c.Message = bounded(c.ending.why+after("\n", message), maxLastWords)
	if c.ExitCode == 0 {
		c.ExitCode, c.Reason = 128+int(c.care.stopSignal), reasonError
	}
}

// proto renders the container; pid only while it runs.
func (c *container) proto(h *history) *agentpb.ContainerState {
	s := &agentpb.ContainerState{
		Name:         c.Name,
		Init:         c.Init,
		Sidecar:      c.Sidecar,
		Digest:       c.Digest,
		Manifest:     c.Manifest,
		State:        c.State.proto(),
		Id:           c.ID,
		Image:        c.Image,
		ImageId:      c.ImageID,
		StartedAt:    stamp(c.StartedAt),
		FinishedAt:   stamp(c.FinishedAt),
		ExitCode:     int32(c.ExitCode),
		Reason:       c.Reason,
		Message:      c.Message,
		RestartCount: c.Restarts,
		RootfsDisk:   c.RootfsDisk,
	}
	if c.State == stateRunning {
		s.Pid = int32(c.pid)
		s.Started = c.started
		s.Ready = c.started && c.ending == nil && c.care.holdsReady()
	}
	for _, p := range c.care.probes() {
		if !p.at.IsZero() {
			s.Probes = append(s.Probes, p.proto())
		}
	}
	for _, r := range h.Runs {
		s.Runs = append(s.Runs, &agentpb.Run{
			Digest:     r.Digest,
			Id:         r.ID,
			StartedAt:  stamp(r.StartedAt),
			FinishedAt: stamp(r.FinishedAt),
			ExitCode:   int32(r.ExitCode),
			Reason:     r.Reason,
		})
	}
	return s
}

// stamp leaves a zero time out.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
