// Package vsock lets the host connect to the guest, and nobody else: whoever runs in the
// guest may use vsock too, and must not reach what listens for the host.
package vsock

import "errors"

// LinkPort is where the guest takes connections for the byte stream of the link (see
// package link). The host's driver dials the same number.
const LinkPort = 6201

// ErrNoDevice means that the machine has no vsock device.
var ErrNoDevice = errors.New("machine has no vsock device")
