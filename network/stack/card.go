package stack

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/firkin-dev/firkin-reconcile/network/frame"
)

// card is our end of a guest's network card: a datagram socket, one frame a message. A
// write waits while the guest does not take frames.
type card struct {
	conn *net.UnixConn
	far  *os.File // the guest's end
}

// cardBuffer is what the card's sockets may hold, in bytes, where the system grants it.
const cardBuffer = 1 << 20

func newCard() (*card, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return nil, fmt.Errorf("make network card: %w", err)
	}
	near, far := os.NewFile(uintptr(fds[0]), "card"), os.NewFile(uintptr(fds[1]), "card")
	defer near.Close()
	for _, fd := range fds {
		syscall.CloseOnExec(fd)
		// Best effort: with less it works too.
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, cardBuffer)
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4*cardBuffer)
	}
	conn, err := net.FileConn(near)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make network card: %w", err), far.Close())
	}
	return &card{conn: conn.(*net.UnixConn), far: far}, nil
}

func (c *card) close() error {
	return errors.Join(c.conn.Close(), c.far.Close())
}

// fromGuest takes frames from the guest until the card is closed.
func (s *Stack) fromGuest() {
	b := make([]byte, frame.MaxSize+1) // one that is too long shows
	var reply []byte
	for {
		n, err := s.card.conn.Read(b)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.opt.Log.Error(err, "read from network card")
			}
			return
		}
		way, addr := frame.FromGuest(s.opt.Address, b[:n])
		switch way {
		case frame.Drop:
		case frame.ToGateway:
			s.inject(b[:n])
		case frame.ToPeer:
			s.peers.send(addr, b[:n])
		case frame.Answer:
			if s.exists(addr) {
				reply = frame.AppendReply(reply[:0], s.opt.Address, addr)
				s.toGuest(reply)
			}
		}
	}
}

// toGuest sends a frame to the guest. One that cannot be sent is lost, as on any wire.
func (s *Stack) toGuest(b []byte) {
	if _, err := s.card.conn.Write(b); err != nil && !errors.Is(err, net.ErrClosed) {
		s.opt.Log.V(1).Info("frame to guest lost", "cause", err.Error())
	}
}

// fromPeers takes frames from other machines until the socket is closed.
func (s *Stack) fromPeers() {
	b := make([]byte, frame.MaxSize+1)
	for {
		n, err := s.socket.Read(b)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.opt.Log.Error(err, "read from other machines")
			}
			return
		}
		if frame.FromPeer(s.opt.Address, b[:n]) {
			s.toGuest(b[:n])
		}
	}
}
