package actual

import (
	"context"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// takeFrom takes the disk of a claim from a pod whose machine has it and is not on it: who removed the volume there
// may have died before letting go of the disk. It says whether the machine has the disk no more. What a pod is on, or
// is just being put on, stays with it, and so does everything of a pod that does not answer.
func (o *Observer) takeFrom(ctx context.Context, pod, disk string) bool {
	namespace, name, _ := strings.Cut(pod, "/")
	m, err := o.one(schema.Ref{Namespace: namespace, Name: name})
	if err != nil || !m.adding.TryLock() {
		return false
	}
	defer m.adding.Unlock()
	o.ask(ctx, m)
	o.mu.Lock()
	heard := m.up() && m.silent == nil
	o.mu.Unlock()
	if !heard || o.diskUsed(m, disk) {
		return false
	}
	if err := m.detach(ctx, disk); err != nil {
		o.log.Info("the disk of a claim that a pod does not use stays attached to it", "pod", pod, "disk", disk, "cause", err.Error())
		return false
	}
	o.log.Info("the disk of a claim was taken back from a pod that does not use it", "pod", pod, "disk", disk)
	return true
}
