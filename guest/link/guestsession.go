package link

import (
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/hashicorp/yamux"
)

// errHostLeft: the host ended the session in order.
var errHostLeft = errors.New("the host ended the session")

// guestSession is one session on the guest's side.
type guestSession struct {
	*outlet
	*inlet
	guest *Guest

	// Of Guest.Run's goroutine alone:
	expect   uint32 // number of the data frame that is due
	answered time.Time
}

func newGuestSession(g *Guest, nonce uint64) *guestSession {
	in := newInlet()
	return &guestSession{
		outlet: newOutlet(g.wire, nonce, in.failure),
		inlet:  in,
		guest:  g,
	}
}

// over tells whether the session has ended.
func (s *guestSession) over() bool { return s.failure() != nil }

// Close implements io.Closer for the multiplexer; the byte stream stays open.
func (s *guestSession) Close() error {
	s.shut(errEnded)
	return nil
}

// serve hands the session's streams to their listeners until it ends.
func (s *guestSession) serve() {
	mux, err := yamux.Server(s, muxConfig(s.guest.opt.Log))
	if err != nil {
		s.guest.opt.Log.Error(err, "link session not served")
		s.shut(err)
		return
	}
	for {
		st, err := mux.AcceptStream()
		if err != nil {
			break
		}
		s.guest.wg.Go(func() { s.accept(st, mux.CloseChan()) })
	}
	_ = mux.Close() // it never fails
	if cause := s.failure(); !errors.Is(cause, ErrReplaced) && !errors.Is(cause, errHostLeft) && !errors.Is(cause, ErrClosed) {
		// The host may not know. It is told as soon as a write that is under way is done.
		_ = s.wire.write(encode(kindBye, s.nonce, nil), nil)
	}
}

// accept reads which port a stream is for and gives it to the listener.
func (s *guestSession) accept(ys *yamux.Stream, over <-chan struct{}) {
	st := &stream{Stream: ys}
	var b [4]byte
	_ = ys.SetDeadline(time.Now().Add(openTimeout)) // it never fails
	if _, err := io.ReadFull(ys, b[:]); err != nil {
		_ = st.Close()
		return
	}
	st.local.Port = binary.BigEndian.Uint32(b[:])
	l := s.guest.listener(st.local.Port)
	if l == nil {
		_, _ = ys.Write([]byte{portRefused})
		_ = st.Close()
		return
	}
	if _, err := ys.Write([]byte{portOpen}); err != nil {
		_ = st.Close()
		return
	}
	_ = ys.SetDeadline(time.Time{})
	l.offer(st, over)
}
