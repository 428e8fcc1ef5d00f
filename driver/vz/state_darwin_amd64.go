//go:build cgo

package vz

import (
	"fmt"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// savesState: Macs with Intel's processors cannot save the state of machines.
const savesState = false

func (m *virtualMachine) savable() error {
	return fmt.Errorf("save the state of a machine: %w on a Mac with Intel's processor", driver.ErrUnsupported)
}

func (m *virtualMachine) save(string) error    { return m.savable() }
func (m *virtualMachine) restore(string) error { return m.savable() }
