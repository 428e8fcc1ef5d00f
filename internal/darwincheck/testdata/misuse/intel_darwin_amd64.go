//go:build cgo

package misuse

import "github.com/Code-Hex/vz/v3"

// Save asks for what only Apple silicon has.
func Save(vm *vz.VirtualMachine) error { return vm.SaveMachineStateToPath("state") }
