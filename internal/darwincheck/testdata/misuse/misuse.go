//go:build darwin && cgo

// Package misuse calls the framework's binding in ways that it does not have.
package misuse

import "github.com/Code-Hex/vz/v3"

// Machine gives a number of CPUs as text, and asks for what there is not.
func Machine(loader vz.BootLoader) (*vz.VirtualMachine, error) {
	config, err := vz.NewVirtualMachineConfiguration(loader, "2", 1<<30)
	if err != nil {
		return nil, err
	}
	config.SetNoSuchDevices(nil)
	return vz.NewVirtualMachine(config)
}
