package sim

import (
	"context"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func (r *runtime) AddVolume(ctx context.Context, _ *agentpb.AddVolumeRequest) error {
	return r.meet(ctx, "AddVolume")
}

func (r *runtime) RemoveVolume(ctx context.Context, _ string) error {
	return r.meet(ctx, "RemoveVolume")
}

func (r *runtime) TerminationMessage(ctx context.Context, _ string) ([]byte, error) {
	return nil, r.meet(ctx, "TerminationMessage")
}
