package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// stateVersion is that of the JSON kept on the store.
const stateVersion = 1

// maxUnreadable bounds what is kept of a state that could not be read.
const maxUnreadable = 64 << 10

// savedState is what the agent keeps on the store. Volumes that are no emptyDirs are not in
// it: what they hold may be secret, and the host gives them again to each boot.
type savedState struct {
	Version    int                 `json:"version"`
	BootID     string              `json:"bootID"`
	Pod        savedPod            `json:"pod"`
	Containers []record            `json:"containers,omitempty"`
	Histories  map[string]*history `json:"histories,omitempty"`
	EmptyDirs  []savedDir          `json:"emptyDirs,omitempty"`
	// Unreadable is the start of a state found earlier that could not be read.
	Unreadable []byte `json:"unreadable,omitempty"`
}

type savedPod struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// CreatedAt is when the pod was first configured; zero in states from before it was kept.
	CreatedAt time.Time `json:"createdAt,omitzero"`
}

type savedDir struct {
	Name      string `json:"name"`
	Digest    string `json:"digest"`
	Memory    bool   `json:"memory,omitempty"`
	SizeLimit int64  `json:"sizeLimit,omitempty"`
	Order     int    `json:"order"`
}

// decodeState reads a saved state. What it returns is whole: every name is safe
// and every record has its history.
func decodeState(data []byte) (*savedState, error) {
	var s savedState
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read saved state: %w", err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("read saved state: version %d, not %d", s.Version, stateVersion)
	}
	if s.Histories == nil {
		s.Histories = make(map[string]*history)
	}
	for name, h := range s.Histories {
		if err := checkName("container name", name, maxName); err != nil || h == nil {
			return nil, fmt.Errorf("read saved state: history of %q is malformed", name)
		}
	}
	seen := make(map[string]bool)
	for i := range s.Containers {
		r := &s.Containers[i]
		switch {
		case s.Histories[r.Name] == nil, seen[r.Name], r.ID == "":
			return nil, fmt.Errorf("read saved state: record of container %q is malformed", r.Name)
		case r.State.proto() == agentpb.ContainerState_STATE_UNSPECIFIED:
			return nil, fmt.Errorf("read saved state: container %q: unknown state %q", r.Name, r.State)
		}
		seen[r.Name] = true
	}
	dirs := make(map[string]bool)
	for _, d := range s.EmptyDirs {
		if err := checkName("emptyDir name", d.Name, maxName); err != nil || dirs[d.Name] || d.SizeLimit < 0 {
			return nil, fmt.Errorf("read saved state: record of emptyDir %q is malformed", d.Name)
		}
		dirs[d.Name] = true
	}
	return &s, nil
}

// toSave collects what is kept; it shares only what never changes. a.mu is held.
func (a *Agent) toSave() *savedState {
	s := &savedState{
		Version:    stateVersion,
		BootID:     a.rt.BootID(),
		Pod:        savedPod{UID: a.pod.GetUid(), Namespace: a.pod.GetNamespace(), Name: a.pod.GetName(), CreatedAt: a.createdAt},
		Histories:  make(map[string]*history, len(a.histories)),
		Unreadable: a.unreadable,
	}
	for name, h := range a.histories {
		kept := *h
		s.Histories[name] = &kept
	}
	for _, c := range a.sortedContainers() {
		s.Containers = append(s.Containers, c.record)
	}
	for _, d := range a.dirs {
		if d.lost {
			continue
		}
		s.EmptyDirs = append(s.EmptyDirs, savedDir{d.req.GetName(), d.req.GetDigest(), d.req.GetMemory(), d.req.GetSizeLimitBytes(), d.order})
	}
	slices.SortFunc(s.EmptyDirs, func(x, y savedDir) int { return strings.Compare(x.Name, y.Name) })
	return s
}

// saver brings the state to the store, several changes at a time when they come fast.
type saver struct {
	slot slot
	// wanted is the version of the state in memory (under Agent.mu), saved that of
	// the one on the store (under slot).
	wanted, saved uint64
	closed        bool // the store is closed for good (under slot)
	pending       bool // a save in the background is coming (under Agent.mu)
}

// changedState notes a change that is to be saved. a.mu is held.
func (a *Agent) changedState() { a.saver.wanted++ }

// save returns once all changes up to now are on the store.
func (a *Agent) save(ctx context.Context) error {
	a.mu.Lock()
	want := a.saver.wanted
	a.mu.Unlock()
	if err := a.saver.slot.acquire(ctx); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	defer a.saver.slot.release()
	if a.saver.saved >= want {
		return nil
	}
	if a.saver.closed {
		return fmt.Errorf("save state: %w", errShuttingDown)
	}
	a.mu.Lock()
	version := a.saver.wanted
	state := a.toSave()
	a.mu.Unlock()
	data, err := json.Marshal(state)
	if err == nil {
		err = a.rt.SaveState(ctx, data)
	}
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	a.saver.saved = version
	return nil
}

// saveSoon saves in the background, for changes that need not be waited for. a.mu is held.
func (a *Agent) saveSoon() {
	if a.saver.pending {
		return
	}
	a.saver.pending = a.background(func() {
		a.mu.Lock()
		a.saver.pending = false
		a.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
		defer cancel()
		if err := a.save(ctx); err != nil {
			a.log().Error(err, "state not saved; the next change tries again")
		}
	})
}
