// Package unixsock listens on and dials unix sockets whose paths are longer than a
// socket address takes (107 bytes on Linux), as those below a state directory may be.
package unixsock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
)

// Listen makes a socket (0600) at path, in place of one that a dead process left there.
// Closing it removes the socket.
func Listen(path string) (*Listener, error) {
	var l *net.UnixListener
	err := bind(path, func(short string) (io.Closer, error) {
		var err error
		if l, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"}); err != nil {
			return nil, err
		}
		// The short name means nothing once the directory is closed.
		l.SetUnlinkOnClose(false)
		return l, nil
	})
	if err != nil {
		return nil, err
	}
	return &Listener{UnixListener: l, path: path}, nil
}

// bind makes a socket (0600) at path by the short name that open is given, in place of one
// that a dead process left there.
func bind(path string, open func(short string) (io.Closer, error)) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	short, done, err := shorten(path)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	defer done()
	socket, err := open(short)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("listen on %s: %w", path, err), socket.Close())
	}
	return nil
}

// unbind closes a socket and removes it by its full path.
func unbind(socket io.Closer, path string) error {
	err := socket.Close()
	if removed := os.Remove(path); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}

// Listener is a listening socket that is removed by its full path.
type Listener struct {
	*net.UnixListener
	path string
}

// Close stops listening and removes the socket.
func (l *Listener) Close() error { return unbind(l.UnixListener, l.path) }

// Dial connects to the socket at path.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	short, done, err := shorten(path)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	defer done()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", short)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	return conn, nil
}
