package runtime

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

const (
	// lingerIdle is how long the output of a process that has ended may pause before
	// it counts as all there is: what the process wrote is in the pipe by then.
	lingerIdle = 200 * time.Millisecond
	// lingerLimit bounds how long others that hold the pipe are read at all.
	lingerLimit = 5 * time.Second
	copyBuffer  = 32 << 10
)

// stream carries what a process writes to a writer.
type stream struct {
	from *os.File
	to   io.Writer
	done chan struct{}
	// limit is when reading ends, whoever still writes; set once the process has ended.
	limit atomic.Pointer[time.Time]
}

// newPipe makes a stream and the end that the process writes to.
func newPipe(to io.Writer) (*stream, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make pipe: %w", err)
	}
	return newStream(r, to), w, nil
}

func newStream(from *os.File, to io.Writer) *stream {
	return &stream{from: from, to: to, done: make(chan struct{})}
}

// copy runs until the end of the stream, or until nothing more is to come after finish.
func (s *stream) copy() {
	defer close(s.done)
	defer func() { _ = s.from.Close() }() // only read, or a terminal
	buf := make([]byte, copyBuffer)
	for {
		if limit := s.limit.Load(); limit != nil && s.rearm(*limit) != nil {
			return
		}
		n, err := s.from.Read(buf)
		if n > 0 {
			// A writer that fails takes no more, but the process must go on.
			_, _ = s.to.Write(buf[:n])
		}
		if err != nil {
			return // io.EOF; EIO from a terminal that nobody has open; a pause after finish
		}
	}
}

// finish says that the process has ended: what it wrote is in the pipe by now, and
// others that hold the pipe are heard no longer than lingerLimit.
func (s *stream) finish() {
	limit := time.Now().Add(lingerLimit)
	s.limit.Store(&limit)
	// For a read that waits already; the next ones rearm. It can fail only once copy has closed the file.
	_ = s.rearm(limit)
}

// rearm gives the next read its time.
func (s *stream) rearm(limit time.Time) error {
	next := time.Now().Add(lingerIdle)
	if next.After(limit) {
		next = limit
	}
	return s.from.SetReadDeadline(next)
}
