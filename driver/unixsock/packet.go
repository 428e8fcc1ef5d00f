package unixsock

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// ListenPacket makes a datagram socket (0600) at path, in place of one that a dead process
// left there. Closing it removes the socket.
func ListenPacket(path string) (*PacketConn, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale socket: %w", err)
	}
	short, done, err := shorten(path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	defer done()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: short, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), c.Close())
	}
	return &PacketConn{UnixConn: c, path: path}, nil
}

// PacketConn is a datagram socket that is removed by its full path.
type PacketConn struct {
	*net.UnixConn
	path string
}

// Close stops receiving and removes the socket.
func (c *PacketConn) Close() error {
	err := c.UnixConn.Close()
	if removed := os.Remove(c.path); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}

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
