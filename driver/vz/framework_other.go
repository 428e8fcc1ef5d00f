//go:build !darwin || !cgo

package vz

import (
	"fmt"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// Built tells whether this program can use Virtualization.framework.
const Built = false

// absent stands where there is no Virtualization.framework.
type absent struct{}

func newFramework() framework { return absent{} }

func (absent) host() (host, error) {
	return host{}, fmt.Errorf("%w: Virtualization.framework needs macOS and a program built with cgo", driver.ErrUnsupported)
}

func (a absent) create(config) (machine, error) {
	_, err := a.host()
	return nil, err
}

func (a absent) newIdentifier() ([]byte, error) {
	_, err := a.host()
	return nil, err
}
