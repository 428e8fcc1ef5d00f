package actual

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestManyAtOnce makes, kills, revives and removes pods side by side while the mirror is
// followed, listed and read.
func TestManyAtOnce(t *testing.T) {
	inBubble(t, t.TempDir(), func(t *testing.T, p *pods) {
		wait, stop := p.following()
		defer stop()
		reading := make(chan struct{})
		var readers, g sync.WaitGroup
		readers.Go(func() {
			for {
				select {
				case <-reading:
					return
				case <-time.After(100 * time.Millisecond):
				}
				if err := p.Refresh(t.Context()); err != nil {
					t.Error(err)
				}
				p.all()
			}
		})
		const n = 24
		for i := range n {
			g.Go(func() {
				pod := newPod(fmt.Sprintf("p%d", i), "sleep", "infinity")
				p.up(pod)
				time.Sleep(time.Duration(i) * 37 * time.Millisecond)
				switch i % 3 {
				case 0:
					p.must(reconcile.Remove, reconcile.KindPod, pod.Name, pod)
				case 1:
					p.kill(pod.Ref)
					p.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
				}
			})
		}
		g.Wait()
		close(reading)
		readers.Wait()
		wait("two thirds are left and run", func() bool {
			running := 0
			for _, s := range p.all() {
				if s.Machine == schema.MachineRunning {
					running++
				}
			}
			return running == n*2/3 && len(p.all()) == n*2/3
		})
	})
}
