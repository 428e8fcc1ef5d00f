package ocispec

import (
	"fmt"
	"path"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

const (
	// StoreDir is where the store disk is mounted.
	StoreDir = "/run/firkin/pod-store"
	// StoreSerial is the serial number of the store disk.
	StoreSerial = "store"
	// SharedMemoryDir has the tmpfs that every container sees as /dev/shm.
	SharedMemoryDir = "/run/firkin/shm"
	// MessageFile is the file in a container's directory that the container sees at the path of
	// its termination message.
	MessageFile = "termination-message"
)

// MaxMessage is how many bytes of a termination message count, the last ones; Kubernetes' 4 KiB.
const MaxMessage = 4096

// sharedMemoryBytes is the size of /dev/shm, which all containers share; containerd's and Docker's.
const sharedMemoryBytes = 64 << 20

// SharedMemoryOptions are the mount options, in the words of mount(8), of SharedMemoryDir.
func SharedMemoryOptions() []string {
	return []string{"nosuid", "nodev", "noexec", "mode=1777", fmt.Sprintf("size=%d", sharedMemoryBytes)}
}

// PodDir is the directory of the store that has all of a pod. A namespace holds no "_".
func PodDir(pod *agentpb.PodIdentity) string {
	return path.Join(StoreDir, "pods", pod.GetNamespace()+"_"+pod.GetName())
}
