// Package memory keeps a process small that works now and then and waits the rest of the time.
package memory

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// By how many percent the heap may grow until it is collected. After much work, such as a first
// convergence, what stays lies scattered among what went, and keeps its pages: the sooner all that
// goes is collected, the fewer they are. Otherwise collections are to disturb seldom.
const (
	growthAtMuchWork = 15
	growth           = 50
)

const (
	// lookEvery is how often a process is judged, by what it allocated since.
	lookEvery = 5 * time.Second
	// restAllocates is how many bytes that are at most for a process at rest.
	restAllocates = 12 << 20
	// muchAllocates is from how many bytes on it is much work; or as many as are live, if those are more.
	muchAllocates = 64 << 20
	// worthwhile is how many bytes, and which share of those that are live (1/worthwhileShare), are
	// worth a collection of the whole heap.
	worthwhile      = 16 << 20
	worthwhileShare = 6
)

// Spare keeps the process small until ctx ends: the heap is collected early, and what it does
// not need is given back to the system whenever the process has come to rest. By itself the
// runtime keeps for good what a time of much work took.
func Spare(ctx context.Context) {
	defer debug.SetGCPercent(debug.SetGCPercent(growthAtMuchWork))
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	before, percent := read(), growthAtMuchWork
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := read()
		allocated, next := now.allocated-before.allocated, growth
		if allocated > max(muchAllocates, now.live) {
			next = growthAtMuchWork
		}
		if next != percent { // setting it stops the world
			debug.SetGCPercent(next)
		}
		if allocated <= restAllocates && now.idle() > max(worthwhile, now.live/worthwhileShare) {
			debug.FreeOSMemory()
		}
		before, percent = now, next
	}
}

// usage is what the heap takes, in bytes.
type usage struct {
	allocated uint64 // ever
	live      uint64 // found by the last collection
	objects   uint64 // live, or not collected yet
	free      uint64 // pages of the system's that hold nothing
}

// idle is what can be given back, at most: pages that hold a few objects yet stay.
func (u usage) idle() uint64 { return u.objects + u.free - min(u.live, u.objects+u.free) }

func read() usage {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	return usage{
		allocated: samples[0].Value.Uint64(),
		live:      samples[1].Value.Uint64(),
		objects:   samples[2].Value.Uint64(),
		free:      samples[3].Value.Uint64(),
	}
}
