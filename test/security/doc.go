// Package security boots pods that mean no good and looks at what they, their VMs and other
// users of the host can reach. It needs root, QEMU and a guest bundle (make guest).
package security
