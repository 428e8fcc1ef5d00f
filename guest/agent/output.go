package agent

import (
	"slices"
	"sync"
	"time"
)

// Bounds of the output that is kept.
const (
	// outputBytes bounds a container's buffer, with chunkCost for each chunk.
	outputBytes = 256 << 10
	chunkCost   = 64
	// maxChunk bounds one chunk; what comes within chunkWindow goes into one.
	maxChunk    = 32 << 10
	chunkWindow = 20 * time.Millisecond
	// endedOutputs and endedBytes bound the buffers of containers that have ended.
	endedOutputs = 32
	endedBytes   = 1 << 20
	// tailBytes is how much of the end of its output stays with a container.
	tailBytes = 4 << 10
	// takerPatience is how long a container that writes faster than its output is
	// taken is held up before output is dropped.
	takerPatience = 100 * time.Millisecond
)

// outputs keeps the output of all containers until it was taken or space is short.
type outputs struct {
	mu        sync.Mutex
	list      []*output // by age
	followers map[*follower]struct{}
}

// output is that of one start of a container. Its fields are under outputs.mu.
type output struct {
	hub      *outputs
	name, id string
	restarts uint32

	chunks []chunk
	cost   int    // of chunks
	end    uint64 // bytes written so far
	taken  uint64 // the furthest that any follower has come
	ended  bool
	// delivered: a follower was told the end.
	delivered bool
	// space is closed when something was taken.
	space chan struct{}
	// hurried: waiting for those who take was in vain; not again until they take something.
	hurried bool
}

// chunk is a stretch of one stream. What data holds never changes; more may be
// appended to it.
type chunk struct {
	stderr bool
	at     time.Time
	data   []byte
	start  uint64
}

func (c *chunk) end() uint64 { return c.start + uint64(len(c.data)) }

func newOutputs() *outputs {
	return &outputs{followers: make(map[*follower]struct{})}
}

// open begins the output of a new start.
func (h *outputs) open(name, id string, restarts uint32) *output {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := &output{hub: h, name: name, id: id, restarts: restarts, space: make(chan struct{})}
	h.list = append(h.list, o)
	return o
}

// drop forgets an output at once.
func (h *outputs) drop(o *output) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = slices.DeleteFunc(h.list, func(x *output) bool { return x == o })
}

// finish notes that no more will come, and returns the tail.
func (h *outputs) finish(o *output) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	o.ended = true
	tail := o.tail()
	h.evict()
	h.wake()
	return tail
}

// evict holds ended outputs to their bounds: those delivered go first, then the oldest. h.mu is held.
func (h *outputs) evict() {
	count, cost := 0, 0
	for _, o := range h.list {
		if o.ended {
			count++
			cost += o.cost
		}
	}
	for _, delivered := range []bool{true, false} {
		h.list = slices.DeleteFunc(h.list, func(o *output) bool {
			if !o.ended || o.delivered != delivered || count <= endedOutputs && cost <= endedBytes {
				return false
			}
			count--
			cost -= o.cost
			return true
		})
	}
}

// wake tells all followers to look. h.mu is held.
func (h *outputs) wake() {
	for f := range h.followers {
		select {
		case f.news <- struct{}{}:
		default:
		}
	}
}

// write keeps a copy of p. When the buffer is full of what nobody has taken, it
// waits a little for someone who does, then drops the oldest.
func (o *output) write(p []byte, stderr bool) {
	for len(p) > 0 {
		n := min(len(p), maxChunk)
		o.awaitSpace(n)
		o.append(p[:n], stderr)
		p = p[n:]
	}
}

func (o *output) append(p []byte, stderr bool) {
	o.hub.mu.Lock()
	defer o.hub.mu.Unlock()
	now := time.Now()
	if last := len(o.chunks) - 1; last >= 0 && o.chunks[last].stderr == stderr &&
		len(o.chunks[last].data)+len(p) <= maxChunk && now.Sub(o.chunks[last].at) < chunkWindow {
		o.chunks[last].data = append(o.chunks[last].data, p...)
		o.cost += len(p)
	} else {
		o.chunks = append(o.chunks, chunk{stderr: stderr, at: now, data: slices.Clone(p), start: o.end})
		o.cost += len(p) + chunkCost
	}
	o.end += uint64(len(p))
	o.shrink(0)
	o.hub.wake()
}

// shrink drops the oldest chunks until more bytes fit. hub.mu is held.
func (o *output) shrink(more int) {
	drop := 0
	for drop < len(o.chunks) && o.cost+more > outputBytes {
		o.cost -= len(o.chunks[drop].data) + chunkCost
		drop++
	}
	o.chunks = slices.Delete(o.chunks, 0, drop)
}

// awaitSpace waits until n bytes fit without dropping what a follower will still
// take, for takerPatience at most.
func (o *output) awaitSpace(n int) {
	var timer *time.Timer
	for {
		o.hub.mu.Lock()
		space, wait := o.space, o.wouldLose(n+chunkCost)
		o.hub.mu.Unlock()
		if !wait {
			return
		}
		if timer == nil {
			timer = time.NewTimer(takerPatience)
			defer timer.Stop()
		}
		select {
		case <-space:
		case <-timer.C:
			o.hub.mu.Lock()
			o.hurried = true
			o.hub.mu.Unlock()
			return
		}
	}
}

// wouldLose tells whether room for more bytes can only be had by dropping what an
// attentive follower has not taken. hub.mu is held.
func (o *output) wouldLose(more int) bool {
	if o.hurried || len(o.hub.followers) == 0 {
		return false
	}
	cost := o.cost
	for _, c := range o.chunks {
		if cost+more <= outputBytes {
			return false
		}
		if c.end() > o.taken {
			return true
		}
		cost -= len(c.data) + chunkCost
	}
	return false
}

// tail returns the last bytes of both streams. hub.mu is held.
func (o *output) tail() []byte {
	var parts [][]byte
	left := tailBytes
	for i := len(o.chunks) - 1; i >= 0 && left > 0; i-- {
		d := o.chunks[i].data
		d = d[max(0, len(d)-left):]
		left -= len(d)
		parts = append(parts, d)
	}
	slices.Reverse(parts)
	return slices.Concat(parts...)
}
