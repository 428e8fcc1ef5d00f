// Package sandbox serves com.apple.containerization.sandbox.v3 in the guest, so that clients of
// that contract can drive it: mounts, files, network, and OCI processes by the same machinery
// that runs pods. It knows nothing of the guest's pod, and keeps nothing through a crash.
//
// Paths are the guest's, and links in them are followed: a client that does not trust a root
// file system should not write through its links. ApplyOciLayer, ConfigureDns, ConfigureHosts and
// archives that are copied in never leave the directory they are given.
//
// Whoever reaches the service has the whole guest. It is served where the host alone can be the
// peer: over the link, and on vsock to its context id (see guest/vsock), never to a process in the
// guest.
package sandbox

// Port is where the service is reached, on vsock and over the link.
const Port = 1024
