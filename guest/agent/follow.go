package agent

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// follower is one reader of all outputs.
type follower struct {
	hub *outputs
	// news is sent to when there may be something to read.
	news chan struct{}
	// taken is how far it has come, by container id; ended those it was told the end of.
	taken map[string]uint64
	ended map[string]bool
	// turn is where to look first: no output may starve the others.
	turn int
}

func (h *outputs) follow(taken map[string]uint64) *follower {
	f := &follower{hub: h, news: make(chan struct{}, 1), taken: make(map[string]uint64), ended: make(map[string]bool)}
	for id, n := range taken {
		f.taken[id] = n
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.followers[f] = struct{}{}
	return f
}

func (f *follower) close() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	delete(f.hub.followers, f)
	for _, o := range f.hub.list {
		o.freed() // nobody may be left to wait for
	}
}

// freed wakes who waits for space. hub.mu is held.
func (o *output) freed() {
	o.hurried = false
	close(o.space)
	o.space = make(chan struct{})
}

// next returns what comes next in some output, nil when there is nothing now. What
// it returned before counts as taken.
func (f *follower) next() *agentpb.OutputChunk {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	list := f.hub.list
	for i := range list {
		at := (f.turn + i) % len(list)
		if f.ended[list[at].id] {
			continue
		}
		if c := f.from(list[at]); c != nil {
			f.turn = at + 1
			return c
		}
	}
	return nil
}

// from returns the next chunk of o. hub.mu is held.
func (f *follower) from(o *output) *agentpb.OutputChunk {
	// A position beyond the end is a mistake of the caller: there is nothing more for it.
	at := min(f.taken[o.id], o.end)
	m := &agentpb.OutputChunk{Container: o.name, Id: o.id, RestartCount: o.restarts}
	next := at
	for i := range o.chunks {
		c := &o.chunks[i]
		if c.end() <= at {
			continue
		}
		skip := uint64(0)
		if c.start < at {
			skip = at - c.start
		} else {
			m.Lost = c.start - at
		}
		m.Stderr, m.At, m.Data = c.stderr, timestamppb.New(c.at), c.data[skip:len(c.data):len(c.data)]
		next = c.end()
		break
	}
	if len(m.Data) == 0 && o.end > at {
		m.Lost = o.end - at
		next = o.end
	}
	m.Eof = o.ended && next == o.end
	if next == at && !m.Eof {
		return nil
	}
	m.Position = next
	f.taken[o.id] = next
	if next > o.taken {
		o.taken = next
		o.freed()
	}
	if m.Eof {
		f.ended[o.id] = true
		o.delivered = true
	}
	return m
}

// followOutput calls send with all output from the given positions on until ctx ends.
func (a *Agent) followOutput(ctx context.Context, taken map[string]uint64, send func(*agentpb.OutputChunk) error) error {
	if len(taken) > maxOutputRequest {
		return invalid("%d positions, more than %d", len(taken), maxOutputRequest)
	}
	f := a.outputs.follow(taken)
	defer f.close()
	for {
		for m := f.next(); m != nil; m = f.next() {
			if err := send(m); err != nil {
				return err
			}
		}
		select {
		case <-f.news:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.stop:
			return errShuttingDown
		}
	}
}
