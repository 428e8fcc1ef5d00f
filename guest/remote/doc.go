// Package remote is an agent.Runtime whose system is elsewhere: a guest that serves
// com.apple.containerization.sandbox.v3 and nothing of ours. The pod's agent then runs on the
// host, beside it, with all it knows of restarts, exit codes and output, and has this package
// do the work by calls of that contract: mounts, directories, OCI processes and their streams,
// trim. Streams go over the link (OverLink), or over ports of the host where there is none
// (OverPorts).
//
// What the contract cannot do is refused with codes.Unimplemented, and what was asked for is
// said. The agent's records are in the host process' memory: they end with it, as the machine does.
//
// Of the calls that only our guests add to the contract, FilesystemUsage is done without, and
// RemovePath but for emptyDirs: the directory of a container that is gone stays until the store is.
package remote
