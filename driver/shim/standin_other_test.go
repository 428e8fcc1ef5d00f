//go:build !linux

package shim_test

import "github.com/firkin-dev/firkin-reconcile/driver"

// newPodless has no guests here: what they are made of is Linux'.
func newPodless() driver.VMM { return nil }
