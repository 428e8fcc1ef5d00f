// Package ocispec says what a container of a pod is to the OCI runtime that runs it, and what is
// where in the machine around it: the spec with its user, capabilities, mounts and limits, the
// files that every container gets, the options of its root file system. All of it is pure, so that
// it can be made where the container runs (guest/runtime) or on the host, for a guest that has no
// agent of ours (guest/remote).
package ocispec
