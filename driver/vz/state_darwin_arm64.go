//go:build cgo

package vz

import "errors"

// savesState: Apple silicon can save the state of machines.
const savesState = true

func (m *virtualMachine) savable() error {
	ok, err := m.config.ValidateSaveRestoreSupport()
	if err == nil && !ok {
		err = errors.New("it does not say why")
	}
	return err
}

func (m *virtualMachine) save(path string) error    { return m.vm.SaveMachineStateToPath(path) }
func (m *virtualMachine) restore(path string) error { return m.vm.RestoreMachineStateFromURL(path) }
