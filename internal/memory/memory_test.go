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

// within runs do beside Spare, in a time that passes when do sleeps.
func within(t *testing.T, do func()) {
	t.Helper()
	const before = 77
	defer debug.SetGCPercent(debug.SetGCPercent(before))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			Spare(ctx)
		}()
		synctest.Wait()
		do()
		cancel()
		<-done
	})
	if percent := debug.SetGCPercent(before); percent != before {
		t.Errorf("afterwards the heap may grow by %d %%, not as before", percent)
	}
}

func TestReturnsOnceAtRest(t *testing.T) {
	within(t, func() {
		debug.SetGCPercent(1000) // else the runtime itself may return it before we look
		leave()
		if u := read(); u.idle() < big/2 {
			t.Fatalf("%d bytes are idle: nothing is tested", u.idle())
		}
		time.Sleep(2*lookEvery + 1)
		if u := read(); u.idle() > big/4 {
			t.Errorf("at rest %d bytes are idle, %d live", u.idle(), u.live)
		}
		before := collections()
		time.Sleep(20 * lookEvery)
		if n := collections() - before; n != 0 {
			t.Errorf("%d collections for nothing", n)
		}
	})
}

func TestLeavesAProcessAtWork(t *testing.T) {
	within(t, func() {
		leave()
		before := collections()
		time.Sleep(lookEvery / 2) // once between any two looks
		for range 10 {
			b := make([]byte, restAllocates+1)
			runtime.KeepAlive(b)
			time.Sleep(lookEvery)
		}
		if n := collections() - before; n != 0 {
			t.Errorf("%d collections while the process was at work", n)
		}
	})
}

func TestGrowth(t *testing.T) {
	within(t, func() {
		want := func(when string, percent int) {
			t.Helper()
			if now := debug.SetGCPercent(percent); now != percent {
				t.Errorf("%s the heap may grow by %d %%, not %d", when, now, percent)
			}
		}
		want("at the start", growthAtMuchWork)
		time.Sleep(lookEvery + lookEvery/2)
		want("without work", growth)
		leave()
		time.Sleep(lookEvery)
		want("after much work", growthAtMuchWork)
		time.Sleep(lookEvery)
		want("after that", growth)
	})
}
