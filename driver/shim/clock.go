package shim

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

const (
	// clockLook is how often the host's clocks are compared.
	clockLook = 2 * time.Second
	// clockJump is how far wall time may run from monotonic time between two looks
	// (a host that slept, or whose clock was set).
	clockJump = 300 * time.Millisecond
	// clockRefresh is how often the guest gets the time anyway: its own clock drifts,
	// and stands still while its VMM is paused.
	clockRefresh = 30 * time.Second
)

// keepTime sets the guest's clock when the host's jumped and now and then, until ctx ends.
func keepTime(ctx context.Context, agent agentpb.AgentClient, log logr.Logger) {
	ticker := time.NewTicker(clockLook)
	defer ticker.Stop()
	last, set := time.Now(), time.Now()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		jump := jumped(last, now)
		last = now
		if !jump && now.Sub(set) < clockRefresh {
			continue
		}
		call, cancel := context.WithTimeout(ctx, callLimit)
		err := setTime(call, agent)
		cancel()
		if err != nil {
			log.V(1).Info("guest clock not set", "cause", err.Error())
			continue
		}
		set = now
	}
}

// jumped tells whether the wall clock went another way than the monotonic one.
func jumped(from, to time.Time) bool {
	wall := to.Round(0).Sub(from.Round(0))
	return (wall - to.Sub(from)).Abs() > clockJump
}

func setTime(ctx context.Context, agent agentpb.AgentClient) error {
	_, err := agent.SetTime(ctx, &agentpb.SetTimeRequest{Time: timestamppb.Now()})
	return err
}
