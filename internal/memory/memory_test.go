package memory

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const big = 256 << 20

// leave allocates and drops much more than is live, and leaves the runtime with what that took.
func leave() {
	hold := make([][]byte, 0, big>>20)
	for range cap(hold) {
		b := make([]byte, 1<<20)
		b[0] = 1
		hold = append(hold, b)
	}
	runtime.KeepAlive(hold)
	runtime.GC()
}

func collections() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumForcedGC
}

// within runs do beside ReturnAtRest, in a time that passes when do sleeps.
func within(t *testing.T, do func()) {
	t.Helper()
	// No collection but those of the test: a background one would count as the package's work.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			ReturnAtRest(ctx)
		}()
		synctest.Wait()
		do()
		cancel()
		<-done
	})
}

func TestReturnsOnceAtRest(t *testing.T) {
	within(t, func() {
		leave()
		if held := read().held; held < big {
			t.Fatalf("the heap holds %d bytes, of %d that were allocated: nothing is tested", held, big)
		}
		time.Sleep(2*restFor + 1)
		if u := read(); u.held > big/4 {
			t.Errorf("at rest the heap holds %d bytes, %d of them live", u.held, u.live)
		}
		before := collections()
		time.Sleep(20 * restFor)
		if n := collections() - before; n != 0 {
			t.Errorf("%d collections for nothing", n)
		}
	})
}

func TestLeavesAProcessAtWork(t *testing.T) {
	within(t, func() {
		leave()
		before := collections()
		time.Sleep(restFor / 2) // once between any two looks
		for range 10 {
			b := make([]byte, restAllocates+1)
			runtime.KeepAlive(b)
			time.Sleep(restFor)
		}
		if n := collections() - before; n != 0 {
			t.Errorf("%d collections while the process was at work", n)
		}
	})
}
