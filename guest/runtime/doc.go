// Package runtime is the agent's Runtime on Linux: containers are run by crun, an
// OCI runtime, each from an overlay over a read-only template, in cgroup v2; a
// pod's files are on one ext4 disk.
//
// On the store disk, mounted at ocispec.StoreDir:
//
//	pods/<namespace>_<name>/state                      the agent's
//	pods/<namespace>_<name>/emptydir/<volume>/
//	pods/<namespace>_<name>/templates/<disk>/          mounts of template disks
//	pods/<namespace>_<name>/streamed/<disk>.ext4       images that came over the link
//	pods/<namespace>_<name>/containers/<id>/{upper,work,merged,...}
//
// Containers of a pod share its network, host name and IPC, which are the machine's: with
// them System V IPC, message queues, one /dev/shm of 64 MiB and all sysctls. Mount and cgroup
// namespaces are their own. So is the process namespace, unless the pod shares one among its
// containers (whose first process is then one of ours, and isolated from them) or has the
// machine's. Whatever the namespace, all of a container's processes end with its first one.
//
// What a container may do is what Docker lets it do by default: 14 capabilities, masked and
// read-only paths, a filter of system calls, and no devices but the harmless ones. A
// privileged container has all capabilities and devices and none of these limits; it can
// take over its machine, which is the boundary. The one device it does not find is the port
// that leads to the host.
package runtime
