// Package e2e tests the built binary on real VMs: what a user does, and what must
// then be true. It needs QEMU and a guest bundle (make guest).
package e2e
