package runtime

import (
	"context"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// AddVolume implements agent.Runtime.
func (r *Runtime) AddVolume(context.Context, *agentpb.AddVolumeRequest) error { return agent.ErrNotFound }

// RemoveVolume implements agent.Runtime.
func (r *Runtime) RemoveVolume(context.Context, string) error { return nil }

// TerminationMessage implements agent.Runtime.
func (r *Runtime) TerminationMessage(context.Context, string) ([]byte, error) { return nil, nil }
