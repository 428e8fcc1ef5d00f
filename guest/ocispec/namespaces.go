package ocispec

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// PIDNamespace is whose processes a container sees. The zero value: its own only.
type PIDNamespace struct {
	// Machine: all of the machine.
	Machine bool
	// Init is the first process of a namespace that containers share.
	Init int
}

// namespaces are those a container does not share with the machine. Network, host name and
// IPC are the pod's, and with that the machine's.
func namespaces(pids PIDNamespace) []specs.LinuxNamespace {
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.CgroupNamespace}}
	switch {
	case pids.Machine:
		return list
	case pids.Init != 0:
		return append(list, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: fmt.Sprintf("/proc/%d/ns/pid", pids.Init)})
	}
	return append(list, specs.LinuxNamespace{Type: specs.PIDNamespace})
}
