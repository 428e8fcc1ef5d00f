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
	statuses := statusesOf(seen.actual)
	kept := make(map[schema.Ref]sameAs, len(statuses))
	for i := range seen.desired.Pods {
		pod := &seen.desired.Pods[i]
		status := statuses[pod.Ref]
		if status == nil || !status.Configured || status.Machine != schema.MachineRunning ||
			status.Source != pod.Source || conflicts[pod.Ref] || seen.stale[pod.Ref] {
			continue
		}
		pair := sameAs{pod, status.Spec}
		if l.kept[pod.Ref] == pair || sameWords(pod, status.Spec) {
			kept[pod.Ref] = pair
			continue
		}
		if status.VMDigest != pod.VMDigest() || now.Before(l.resting[pod.Ref]) {
			continue
		}
		l.start(workers, pod.Ref, func() {
			if err := recordOne(ctx, recorder, pod); err != nil {
				l.rest(pod.Ref)
				l.opt.Log.V(1).Info("the manifest is not kept with its pod", "pod", pod.Ref.String(), "cause", err.Error())
			}
		})
	}
	l.kept = kept
}

// recordLimit bounds one Record.
const recordLimit = time.Minute

func recordOne(ctx context.Context, r Recorder, pod *schema.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, recordLimit)
	defer cancel()
	return r.Record(ctx, pod)
}

// sameAs is a desired pod and the one that was applied, which were found to say the same.
// Neither is ever changed in place, so that a later look need not compare them again.
type sameAs struct{ desired, applied *schema.Pod }

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
