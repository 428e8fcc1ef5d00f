package ext4

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

const blockSize = 4096

// Sparse writes a new file and leaves out blocks of zeros, which then read as zeros all
// the same. A place that was written must not be overwritten with zeros.
type Sparse struct {
	f    *os.File
	pos  int64
	size int64
}

// NewSparse returns a writer to f, which is empty.
func NewSparse(f *os.File) *Sparse { return &Sparse{f: f} }

var zeros [blockSize]byte //nolint:gochecknoglobals // never written

// Write implements io.Writer.
func (s *Sparse) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		hole, n := s.run(p)
		if !hole {
			if m, err := s.f.WriteAt(p[:n], s.pos); err != nil {
				return written + m, err
			}
		}
		s.pos += int64(n)
		s.size = max(s.size, s.pos)
		written += n
		p = p[n:]
	}
	return written, nil
}

// run is the longest start of p that is all zero blocks, or has none.
func (s *Sparse) run(p []byte) (hole bool, n int) {
	for n < len(p) {
		block := p[n:min(n+blockSize-int((s.pos+int64(n))%blockSize), len(p))]
		zero := bytes.Equal(block, zeros[:len(block)])
		if n > 0 && zero != hole {
			return hole, n
		}
		hole = zero
		n += len(block)
	}
	return hole, n
}

// Read implements io.Reader.
func (s *Sparse) Read(p []byte) (int, error) {
	n, err := s.ReadAt(p, s.pos)
	s.pos += int64(n)
	return n, err
}

// ReadAt implements io.ReaderAt for everything written, holes at the end included.
func (s *Sparse) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), s.size-off)]
	n, err := s.f.ReadAt(want, off)
	if err == io.EOF {
		clear(want[n:]) // a hole not yet covered by the file's length
		n, err = len(want), nil
	}
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// Seek implements io.Seeker.
func (s *Sparse) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d: %w", offset, os.ErrInvalid)
	}
	s.pos = offset
	return offset, nil
}

// Finish gives the file its length, rounded up to whole blocks, and returns it.
func (s *Sparse) Finish() (int64, error) {
	s.size = (s.size + blockSize - 1) / blockSize * blockSize
	return s.size, s.f.Truncate(s.size)
}
