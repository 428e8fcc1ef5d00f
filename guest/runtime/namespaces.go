package runtime

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// shmDir has the tmpfs that every container sees as /dev/shm.
const shmDir = "/run/firkin/shm"

// pidNamespace is whose processes a container sees. The zero value: its own only.
type pidNamespace struct {
	// machine: all of the machine.
	machine bool
	// init is the first process of a namespace that containers share.
	init int
}

// namespaces are those a container does not share with the machine. Network, host name and
// IPC are the pod's, and with that the machine's.
func namespaces(pids pidNamespace) []specs.LinuxNamespace {
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.CgroupNamespace}}
	switch {
	case pids.machine:
		return list
	case pids.init != 0:
		return append(list, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: fmt.Sprintf("/proc/%d/ns/pid", pids.init)})
	}
	return append(list, specs.LinuxNamespace{Type: specs.PIDNamespace})
}
