package qemu

import "time"

// rdtsc reads the time stamp counter.
func rdtsc() uint64

// tscWindow is long enough for an error below 10 ppm.
const tscWindow = 50 * time.Millisecond

// measureTSC counts over a short while, in kHz.
func measureTSC() int {
	start, from := time.Now(), rdtsc()
	time.Sleep(tscWindow)
	ticks, took := rdtsc()-from, time.Since(start)
	return int(float64(ticks) / float64(took.Nanoseconds()) * 1e6)
}
