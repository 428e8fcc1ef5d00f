// Package runtime is the agent's Runtime on Linux: containers are run by crun, an
// OCI runtime, each from an overlay over a read-only template, in cgroup v2; a
// pod's files are on one ext4 disk.
//
// On the store disk, mounted at StoreDir:
//
//	pods/<namespace>_<name>/state                      the agent's
//	pods/<namespace>_<name>/emptydir/<volume>/
//	pods/<namespace>_<name>/templates/<disk>/          mounts of template disks
//	pods/<namespace>_<name>/containers/<id>/{upper,work,merged,...}
//
// Containers of a pod share its network (the machine's) and host name, and have
// process, mount, IPC and cgroup namespaces of their own. They run without a
// seccomp filter as yet.
package runtime
