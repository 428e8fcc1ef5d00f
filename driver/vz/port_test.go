package vz

import (
	"testing"

	"github.com/firkin-dev/firkin-reconcile/guest/vsock"
)

// TestPortIsTheGuests: the number is written down on both sides, which share no code.
func TestPortIsTheGuests(t *testing.T) {
	if LinkPort != vsock.LinkPort {
		t.Errorf("the driver dials port %d, the guest listens on %d", LinkPort, vsock.LinkPort)
	}
}
