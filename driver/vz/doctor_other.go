//go:build !darwin

package vz

import (
	"context"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// Doctor reports what running machines under Virtualization.framework needs on this host.
func Doctor(context.Context) []driver.Check {
	_, err := newFramework().host()
	return []driver.Check{{Name: Name, Fatal: true, Detail: err.Error(), Remedy: "choose another --driver"}}
}
