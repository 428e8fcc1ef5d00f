package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// A frame on the wire, integers big-endian:
//
//	0  magic    4 bytes
//	4  kind     1 byte
//	5  zero     1 byte
//	6  length   2 bytes, of the payload
//	8  nonce    8 bytes, the session's
//	16 sequence 4 bytes, counts a direction's data frames from 0; else 0
//	20 checksum 4 bytes, CRC-32C of bytes 0-19 and the payload
//	24 payload
//
// A whole frame is at most 32 KiB, the most that Linux takes in one write to a
// virtio-serial port.
const (
	magic      = "\xf1rk\x9d"
	headerSize = 24
	maxFrame   = 32 << 10
	maxPayload = maxFrame - headerSize
)

// scanBuffer holds any frame with room for what follows it.
const scanBuffer = 2 * maxFrame

type kind uint8

const (
	// kindHello (host to guest) opens a session.
	kindHello kind = iota + 1
	// kindAck (guest to host) accepts it.
	kindAck
	// kindReject (guest to host) refuses it.
	kindReject
	// kindData carries the next bytes of the session.
	kindData
	// kindBye says that the sender has no such session (any more).
	kindBye
)

// frame is one decoded frame. payload aliases the buffer it was decoded from.
type frame struct {
	kind    kind
	nonce   uint64
	seq     uint32
	payload []byte
}

var (
	// errShort: more bytes are needed to tell.
	errShort = errors.New("frame is incomplete")
	// errGarbage: these bytes are not a frame.
	errGarbage = errors.New("bytes are not a frame")
)

// seal writes the header of the frame whose payload is buf[headerSize:].
func seal(buf []byte, k kind, nonce uint64, seq uint32) {
	copy(buf, magic)
	buf[4], buf[5] = byte(k), 0
	binary.BigEndian.PutUint16(buf[6:], uint16(len(buf)-headerSize))
	binary.BigEndian.PutUint64(buf[8:], nonce)
	binary.BigEndian.PutUint32(buf[16:], seq)
	binary.BigEndian.PutUint32(buf[20:], checksum(buf))
}

func checksum(buf []byte) uint32 {
	// MakeTable returns the same table each time; with it crc32 uses the CPU's instruction.
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(buf[:20], table), table, buf[headerSize:])
}

// encode returns a control frame.
func encode(k kind, nonce uint64, payload []byte) []byte {
	buf := append(make([]byte, headerSize, headerSize+len(payload)), payload...)
	seal(buf, k, nonce, 0)
	return buf
}

// decode reads the frame at the start of b. It returns how many bytes of b are
// done with: the frame's, or with errGarbage those that start no frame (> 0), or
// 0 with errShort.
func decode(b []byte) (frame, int, error) {
	if n := skipTo(b); n > 0 {
		return frame{}, n, errGarbage
	}
	if len(b) < headerSize {
		return frame{}, 0, errShort
	}
	k := kind(b[4])
	size := headerSize + int(binary.BigEndian.Uint16(b[6:]))
	if k < kindHello || k > kindBye || b[5] != 0 || size > maxFrame {
		return frame{}, 1, errGarbage
	}
	if len(b) < size {
		return frame{}, 0, errShort
	}
	if binary.BigEndian.Uint32(b[20:]) != checksum(b[:size]) {
		return frame{}, 1, errGarbage
	}
	return frame{
		kind:    k,
		nonce:   binary.BigEndian.Uint64(b[8:]),
		seq:     binary.BigEndian.Uint32(b[16:]),
		payload: b[headerSize:size:size],
	}, size, nil
}

// skipTo returns how many bytes come before the first place in b where a frame
// may start; a beginning of the magic at the very end is such a place.
func skipTo(b []byte) int {
	if i := bytes.Index(b, []byte(magic)); i >= 0 {
		return i
	}
	for n := min(len(magic)-1, len(b)); n > 0; n-- {
		if string(b[len(b)-n:]) == magic[:n] {
			return len(b) - n
		}
	}
	return len(b)
}

// scanner finds frames in a stream that may hold anything between them.
type scanner struct {
	r io.Reader
	// urgent says whether a control frame found inside an unfinished frame is
	// genuine: the writer of the unfinished one is then gone and the rest of it will
	// never come. Nil: do not look. It must not be true for anything that a payload
	// may hold by chance or malice.
	urgent func(frame) bool

	buf        []byte
	start, end int
	// searched is how far after start an unfinished frame was looked through for urgent ones.
	searched int
	// skipped counts bytes that belonged to no frame.
	skipped uint64
}

func newScanner(r io.Reader) *scanner {
	return &scanner{r: r, buf: make([]byte, scanBuffer)}
}

// next returns the next frame; its payload is valid until the next call. An error
// is one of the reader; next may be called again after it.
func (s *scanner) next() (frame, error) {
	for {
		f, n, err := decode(s.buf[s.start:s.end])
		switch {
		case err == nil:
			s.advance(n)
			return f, nil
		case errors.Is(err, errGarbage):
			s.skip(n)
			continue
		}
		if f, ok := s.interruption(); ok {
			return f, nil
		}
		if err := s.fill(); err != nil {
			return frame{}, err
		}
	}
}

// interruption looks for an urgent frame inside the unfinished one.
func (s *scanner) interruption() (frame, bool) {
	if s.urgent == nil {
		return frame{}, false
	}
	short := -1 // the first place where something may still become a frame
	for at := s.start + max(s.searched, 1); at < s.end; {
		f, n, err := decode(s.buf[at:s.end])
		switch {
		case err == nil && f.kind != kindData && s.urgent(f):
			s.skip(at - s.start)
			s.advance(n)
			return f, true
		case errors.Is(err, errShort):
			if short < 0 {
				short = at
			}
			n = 1
		case err == nil:
			n = 1
		}
		at += n
	}
	if short < 0 {
		short = s.end
	}
	s.searched = short - s.start
	return frame{}, false
}

func (s *scanner) skip(n int) {
	s.skipped += uint64(n)
	s.advance(n)
}

func (s *scanner) advance(n int) {
	s.start += n
	s.searched = 0
	if s.start == s.end {
		s.start, s.end = 0, 0
	}
}

// fill reads more bytes behind those that are there.
func (s *scanner) fill() error {
	if s.start > 0 && len(s.buf)-s.start < maxFrame {
		s.end = copy(s.buf, s.buf[s.start:s.end])
		s.start = 0
	}
	n, err := s.r.Read(s.buf[s.end:])
	if n > 0 {
		s.end += n
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}
