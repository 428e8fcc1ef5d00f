package reconcile

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"sync"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// record keeps what changed about pods without needing an action. The caller holds l.mu.
func (l *Loop) record(ctx context.Context, seen *look, workers *sync.WaitGroup) {
	now := time.Now()
	recorder, ok := l.actual.(Recorder)
	if !ok {
		return
	}
	conflicts := make(map[schema.Ref]bool)
	for _, h := range seen.plan.Holds {
		for _, ref := range h.Pods {
			conflicts[ref] = true
		}
	}
	for _, c := range l.planner.couples {
		pod, status := c.pod, c.status
		if pod == nil || status == nil || !status.Configured || status.Machine != schema.MachineRunning ||
			status.Source != pod.Source || conflicts[pod.Ref] || seen.stale[pod.Ref] {
			continue
		}
		if c.recorded() {
			continue
		}
		if status.VMDigest != pod.VMDigest() || now.Before(l.resting[pod.Ref]) {
			continue
		}
		l.start(ctx, workers, pod.Ref, func() {
			if err := recordOne(ctx, recorder, pod); err != nil {
				l.rest(pod.Ref)
				l.opt.Log.V(1).Info("the manifest is not kept with its pod", "pod", pod.Ref.String(), "cause", err.Error())
			}
		})
	}
}

// recorded tells whether what the manifest says is kept with the pod, whose status there is.
func (c *couple) recorded() bool {
	c.known.recorded = c.known.recorded || sameWords(c.pod, c.status.Spec)
	return c.known.recorded
}

// recordLimit bounds one Record.
const recordLimit = time.Minute

func recordOne(ctx context.Context, r Recorder, pod *schema.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, recordLimit)
	defer cancel()
	return r.Record(ctx, pod)
}

// sameWords tells whether two versions of a pod say the same, wherever they stand: of hidden
// values the record holds digests only, and of what is missing nothing.
func sameWords(a, b *schema.Pod) bool {
	if b == nil {
		return false
	}
	x, y := *a, *b
	x.Origin, y.Origin = schema.Origin{}, schema.Origin{}
	if reflect.DeepEqual(x, y) {
		return true
	}
	from, err := json.Marshal(x)
	if err != nil {
		return false
	}
	to, err := json.Marshal(y)
	return err == nil && bytes.Equal(from, to)
}
