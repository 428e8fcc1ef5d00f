package shim

import (
	"fmt"
	"net"
	"os"

	"github.com/go-logr/logr"
)

// ownListener accepts connections of this user's and root's processes only. The
// socket's mode says the same; this holds when the mode was changed.
type ownListener struct {
	net.Listener
	log logr.Logger
}

// Accept implements net.Listener.
func (l *ownListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(conn)
		if err == nil && uid != 0 && uid != os.Geteuid() {
			err = fmt.Errorf("peer is uid %d", uid)
		}
		if err == nil {
			return conn, nil
		}
		l.log.Info("connection refused", "cause", err.Error())
		conn.Close()
	}
}
