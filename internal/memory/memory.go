// Package memory keeps a process small that works now and then and waits the rest of the time.
package memory

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// restFor is how long a process has to have done next to nothing to be at rest.
	restFor = 10 * time.Second
	// restAllocates is how many bytes a process at rest allocates in that time at most.
	restAllocates = 8 << 20
	// worthwhile is how many bytes, and which share of those that are live (1/worthwhileShare), are
	// worth a collection of the whole heap.
	worthwhile      = 16 << 20
	worthwhileShare = 4
)

// ReturnAtRest gives the memory that the heap does not need back to the system whenever the
// process has come to rest, until ctx ends. By itself the runtime keeps as much free as is
// live, for the next time that there is work: for good.
func ReturnAtRest(ctx context.Context) {
	tick := time.NewTicker(restFor)
	defer tick.Stop()
	before := read()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := read()
		if now.allocated-before.allocated <= restAllocates && now.idle() > max(worthwhile, now.live/worthwhileShare) {
			debug.FreeOSMemory()
		}
		before = now
	}
}

// usage is what the heap takes, in bytes.
type usage struct {
	allocated uint64 // ever
	live      uint64 // found by the last collection
	held      uint64 // of the system's memory
}

// idle is what could be given back, at most.
func (u usage) idle() uint64 { return u.held - min(u.live, u.held) }

func read() usage {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	return usage{
		allocated: samples[0].Value.Uint64(),
		live:      samples[1].Value.Uint64(),
		held:      samples[2].Value.Uint64() + samples[3].Value.Uint64() + samples[4].Value.Uint64(),
	}
}
