package vsock

import "net"

// HostOnly makes a listener give out connections of the host only, as those of Listen do.
func HostOnly(l net.Listener) net.Listener { return hostOnly{Listener: l, isHost: isHost} }
