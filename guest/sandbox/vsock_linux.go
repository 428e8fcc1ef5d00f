package sandbox

import (
	"context"
	"fmt"
	"net"

	mdvsock "github.com/mdlayher/vsock"

	"github.com/firkin-dev/firkin-reconcile/guest/vsock"
)

// VsockPorts are the ports of vsock: the host listens on them.
type VsockPorts struct{}

var _ Ports = VsockPorts{}

// Dial implements Ports. The kernel bounds it to a few seconds.
func (VsockPorts) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("connect with port %d of the host: %w", port, err)
	}
	conn, err := mdvsock.Dial(mdvsock.Host, port, nil)
	if err != nil {
		return nil, fmt.Errorf("connect with port %d of the host: %w", port, err)
	}
	return conn, nil
}

// Listen implements Ports. Processes in the guest can connect to no such port.
func (VsockPorts) Listen(port uint32) (net.Listener, error) { return vsock.Listen(port) }
