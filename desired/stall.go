package desired

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// stallLimit is how long a read may take before its file system is taken for one that does
// not answer, as a network's whose server is gone. Whatever waits for such a one cannot be
// interrupted, so it is left to itself, and nothing else is read meanwhile.
const stallLimit = 10 * time.Second

// reader has at most one read under way, and waits for it within bounds.
type reader struct {
	// at is what is being read.
	at atomic.Pointer[root]

	under chan outcome // of the read under way, nil when there is none
	since time.Time
	last  schema.DesiredState // of the last read that came to its end
	read  bool                // there is a last one
}

type outcome struct {
	state schema.DesiredState
	err   error
}

// wait returns what a read gives or, if that does not come to its end, the last state with
// the path unknown that it hangs at. Without a last state it waits until ctx ends.
func (r *reader) wait(ctx context.Context, s *Source) (schema.DesiredState, error) {
	for {
		isNew := r.under == nil
		if isNew {
			r.begin(ctx, s)
		}
		var stalled <-chan time.Time
		if r.read {
			stalled = time.After(max(0, stallLimit-time.Since(r.since)))
		}
		select {
		case o := <-r.under:
			r.under = nil
			if o.err != nil && !isNew && ctx.Err() == nil {
				continue // it was for somebody who has gone
			}
			if o.err == nil {
				r.last, r.read = o.state, true
			}
			return o.state, o.err
		case <-stalled:
			return r.stalled(), nil
		case <-ctx.Done():
			return schema.DesiredState{}, fmt.Errorf("read manifests: %w", context.Cause(ctx))
		}
	}
}

func (r *reader) begin(ctx context.Context, s *Source) {
	under, began := make(chan outcome, 1), time.Now()
	r.under, r.since = under, began
	go func() {
		state, err := s.pods(ctx)
		under <- outcome{state, err}
		if time.Since(began) >= stallLimit {
			s.lookAgain()
		}
	}()
}

// stalled is the last state, but for the path that is being read: nothing of it is known.
func (r *reader) stalled() schema.DesiredState {
	state := r.last
	at := r.at.Load()
	state.Sources = slices.Clone(state.Sources)
	for i := range state.Sources {
		if src := &state.Sources[i]; at == nil || src.Path == at.path {
			src.Known = false
			src.Reason = fmt.Sprintf("reading %s has taken more than %s: its file system does not answer", src.Path, stallLimit)
		}
	}
	return state
}
