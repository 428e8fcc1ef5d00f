package reconcile

import (
	"fmt"
	"time"
)

// A trim is worth it when the host file holds this much more than the file system in
// it uses, and a fifth of it; and not more often than every ten minutes.
const (
	trimWorth    = 64 << 20
	trimFraction = 5
	trimEvery    = 10 * time.Minute
)

// trim plans a trim of a pod that has nothing else to do.
func (d *podDiffer) trim() {
	store := d.status.Store
	free := store.HostBytes - store.UsedBytes
	if len(d.actions) > 0 || d.policy.NoTrim || free < trimWorth || free < store.HostBytes/trimFraction {
		return
	}
	if _, _, ok := backsOff(d.status.Failures, KindPod, d.pod.Name, anyFailure, &d.clock); ok {
		return
	}
	if due := store.TrimmedAt.Add(trimEvery); !d.reached(due) && !d.ahead(store.TrimmedAt, trimEvery) {
		return
	}
	d.actions = append(d.actions, Action{
		Type: Trim, Kind: KindPod, Pod: d.pod.Ref, Name: d.pod.Name, Spec: d.pod,
		Cause: fmt.Sprintf("about %d MiB of its store on the host are free inside", free>>20),
	})
}
