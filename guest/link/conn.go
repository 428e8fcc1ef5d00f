package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// writeTimeout bounds one write to the byte stream.
const writeTimeout = 10 * time.Second

// farewellTimeout bounds what is written for courtesy only.
const farewellTimeout = 50 * time.Millisecond

// wire writes whole frames to a byte stream, one at a time.
type wire struct {
	w io.Writer
	// setDeadline is nil when the stream knows no deadlines.
	setDeadline func(time.Time) error
	mu          sync.Mutex
}

func newWire(w io.Writer) *wire {
	o := &wire{w: w}
	if d, ok := w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		o.setDeadline = d.SetWriteDeadline
	}
	return o
}

// write writes buf unless live says no once it is buf's turn; live may be nil.
func (o *wire) write(buf []byte, live func() error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if live != nil {
		if err := live(); err != nil {
			return err
		}
	}
	if o.setDeadline != nil {
		// A stream that turns out to know no deadlines is written to without.
		_ = o.setDeadline(time.Now().Add(writeTimeout))
	}
	for len(buf) > 0 {
		n, err := o.w.Write(buf)
		if err != nil {
			return fmt.Errorf("write frame: %w", err)
		}
		buf = buf[n:]
	}
	return nil
}

// settled returns once no write is under way.
func (o *wire) settled() {
	o.mu.Lock()
	defer o.mu.Unlock()
}

// tryWrite writes buf if nobody else is writing, and tells whether it did.
func (o *wire) tryWrite(buf []byte) bool {
	if !o.mu.TryLock() {
		return false
	}
	defer o.mu.Unlock()
	if o.setDeadline != nil {
		_ = o.setDeadline(time.Now().Add(farewellTimeout))
	}
	_, err := o.w.Write(buf)
	return err == nil
}

// outlet turns what a multiplexer writes into data frames of one session. Write
// is called by one goroutine at a time.
type outlet struct {
	wire  *wire
	nonce uint64
	live  func() error
	seq   uint32
	buf   []byte
}

func newOutlet(w *wire, nonce uint64, live func() error) *outlet {
	return &outlet{wire: w, nonce: nonce, live: live, buf: make([]byte, headerSize, maxFrame)}
}

// Write frames p. The header of a yamux data message is held until its body comes
// (always the very next write), so that both travel in one frame.
func (o *outlet) Write(p []byte) (int, error) {
	if len(o.buf) == headerSize && announcesBody(p) {
		o.buf = append(o.buf, p...)
		return len(p), nil
	}
	for rest := p; len(rest) > 0; {
		n := min(len(rest), maxFrame-len(o.buf))
		o.buf = append(o.buf, rest[:n]...)
		rest = rest[n:]
		seal(o.buf, kindData, o.nonce, o.seq)
		err := o.wire.write(o.buf, o.live)
		o.buf = o.buf[:headerSize]
		if err != nil {
			return len(p) - len(rest) - n, err
		}
		o.seq++
	}
	return len(p), nil
}

// announcesBody tells whether p is a yamux header (version, type, flags, stream,
// length: 12 bytes) of a data message that is not empty.
func announcesBody(p []byte) bool {
	return len(p) == 12 && p[0] == 0 && p[1] == 0 && binary.BigEndian.Uint32(p[8:]) > 0
}

// errEnded: the session is over.
var errEnded = errors.New("session has ended")

// inlet hands the payloads of data frames from the one who reads frames to the
// one who reads bytes, without keeping a copy.
type inlet struct {
	mu   sync.Mutex
	cond *sync.Cond
	data []byte
	err  error
}

func newInlet() *inlet {
	in := &inlet{}
	in.cond = sync.NewCond(&in.mu)
	return in
}

// deliver returns once all of p was read or the inlet was closed; p is the
// caller's again then.
func (in *inlet) deliver(p []byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.data = p
	in.cond.Broadcast()
	for len(in.data) > 0 && in.err == nil {
		in.cond.Wait()
	}
	in.data = nil
}

// Read implements io.Reader.
func (in *inlet) Read(p []byte) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.data) == 0 && in.err == nil {
		in.cond.Wait()
	}
	if in.err != nil {
		return 0, in.err
	}
	n := copy(p, in.data)
	in.data = in.data[n:]
	if len(in.data) == 0 {
		in.cond.Broadcast()
	}
	return n, nil
}

// shut makes reads fail with err; the first error stays.
func (in *inlet) shut(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err == nil {
		in.err = err
	}
	in.cond.Broadcast()
}

// failure is the error given to shut, nil while open.
func (in *inlet) failure() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}
