package link

import (
	"fmt"
	"net"
	"time"

	"github.com/go-logr/logr"
	"github.com/hashicorp/yamux"
)

// Bounds of a session. A peer that does not answer a ping within pingTimeout ends it.
const (
	pingInterval = 5 * time.Second
	pingTimeout  = 10 * time.Second
	// openTimeout bounds how long a stream takes to reach its listener.
	openTimeout = 10 * time.Second
	// closeTimeout bounds how long a closed stream waits for its peer to close too.
	closeTimeout = 10 * time.Second
	// backlog is how many streams may wait to be accepted.
	backlog = 64
	// streamWindow is how many bytes of a stream may be under way (yamux' least).
	streamWindow = 256 << 10
)

// The first bytes of a stream: the dialler sends the port (4 bytes, big-endian),
// the listener's side answers with one of these.
const (
	portOpen    = 0
	portRefused = 1
)

func muxConfig(log logr.Logger) *yamux.Config {
	return &yamux.Config{
		AcceptBacklog:          backlog,
		EnableKeepAlive:        true,
		KeepAliveInterval:      pingInterval,
		ConnectionWriteTimeout: pingTimeout,
		MaxStreamWindowSize:    streamWindow,
		StreamOpenTimeout:      openTimeout,
		StreamCloseTimeout:     closeTimeout,
		Logger:                 muxLogger{log},
	}
}

// muxLogger passes what yamux says on, for those who debug.
type muxLogger struct{ log logr.Logger }

func (l muxLogger) Print(v ...any) {
	if log := l.log.V(2); log.Enabled() {
		log.Info(fmt.Sprint(v...))
	}
}

func (l muxLogger) Printf(format string, v ...any) {
	if log := l.log.V(2); log.Enabled() {
		log.Info(fmt.Sprintf(format, v...))
	}
}

func (l muxLogger) Println(v ...any) { l.Print(v...) }

// Addr is one end of a stream.
type Addr struct {
	// Port is 0 for the dialling end.
	Port uint32
}

// Network implements net.Addr.
func (Addr) Network() string { return "link" }

// String implements net.Addr.
func (a Addr) String() string { return fmt.Sprintf("link:%d", a.Port) }

// stream is a net.Conn over one yamux stream.
type stream struct {
	*yamux.Stream
	local, remote Addr
}

// Close ends both directions: unlike yamux' own it wakes a Read as well.
func (s *stream) Close() error {
	err := s.Stream.Close()
	_ = s.SetReadDeadline(time.Unix(1, 0)) // it never fails
	return err
}

// CloseWrite ends this direction alone. The peer has closeTimeout to end the other.
func (s *stream) CloseWrite() error { return s.Stream.Close() }

func (s *stream) LocalAddr() net.Addr  { return s.local }
func (s *stream) RemoteAddr() net.Addr { return s.remote }
