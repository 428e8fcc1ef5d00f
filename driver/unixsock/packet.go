package unixsock

import (
	"fmt"
	"io"
	"net"
)

// ListenPacket makes a datagram socket (0600) at path, in place of one that a dead process
// left there. Closing it removes the socket.
func ListenPacket(path string) (*PacketConn, error) {
	var c *net.UnixConn
	err := bind(path, func(short string) (io.Closer, error) {
		var err error
		if c, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: short, Net: "unixgram"}); err != nil {
			return nil, err
		}
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	return &PacketConn{UnixConn: c, path: path}, nil
}

// PacketConn is a datagram socket that is removed by its full path.
type PacketConn struct {
	*net.UnixConn
	path string
}

// Close stops receiving and removes the socket.
func (c *PacketConn) Close() error { return unbind(c.UnixConn, c.path) }

// DialPacket makes a datagram socket whose messages go to the one at path.
func DialPacket(path string) (*net.UnixConn, error) {
	short, done, err := shorten(path)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	defer done()
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: short, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	return c, nil
}
