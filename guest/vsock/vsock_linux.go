package vsock

import (
	"errors"
	"fmt"
	"io/fs"
	"net"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

// Listen listens for the host's connections on a port. What others connect (processes in the
// guest, by the kernel's loopback) is closed unread. The error wraps ErrNoDevice when the
// machine has no vsock device; its driver must be loaded by then.
func Listen(port uint32) (net.Listener, error) {
	cid, err := vsock.ContextID()
	if errors.Is(err, fs.ErrNotExist) || err == nil && cid == unix.VMADDR_CID_ANY {
		return nil, fmt.Errorf("listen on vsock port %d: %w", port, ErrNoDevice)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on vsock port %d: %w", port, err)
	}
	// Not on cid, which changes when the machine is moved or copied.
	l, err := vsock.ListenContextID(unix.VMADDR_CID_ANY, port, nil)
	if err != nil {
		return nil, fmt.Errorf("listen on vsock port %d: %w", port, err)
	}
	return hostOnly{Listener: l, isHost: isHost}, nil
}

func isHost(a net.Addr) bool {
	v, ok := a.(*vsock.Addr)
	return ok && v.ContextID == vsock.Host
}
