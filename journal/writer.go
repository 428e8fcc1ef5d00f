package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// FileName is the name of the journal in the state directory.
	FileName = "events.jsonl"
	// oldSuffix names the one earlier file that is kept.
	oldSuffix = ".1"
	// maxFileBytes is where a new file is begun; two files are kept.
	maxFileBytes = 8 << 20
	// maxLineBytes bounds one event; longer messages are cut.
	maxLineBytes = 64 << 10
	// maxMessageBytes leaves room for the other fields and for JSON's escapes.
	maxMessageBytes = maxLineBytes / 8
	// maxCounted bounds the memory of repeated events.
	maxCounted = 4096
)

// Writer appends events. Several processes may write to one journal.
type Writer struct {
	path     string
	maxBytes int64

	mu   sync.Mutex
	last map[string]Event
}

// NewWriter returns a writer to the journal in dir, which must exist when the
// first event is appended.
func NewWriter(dir string) *Writer {
	return &Writer{path: filepath.Join(dir, FileName), maxBytes: maxFileBytes, last: map[string]Event{}}
}

// Append records e. A zero Time becomes now; Count is set by the writer. The line
// is written with one call, so a reader sees all of it or, after a power cut, a
// torn end that it skips.
func (w *Writer) Append(e Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.UTC()
	if len(e.Message) > maxMessageBytes {
		e.Message = e.Message[:maxMessageBytes] + "..."
	}
	w.count(&e)
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("append event %s: %w", e.Reason, err)
	}
	if err := w.write(append(line, '\n')); err != nil {
		return fmt.Errorf("append event %s: %w", e.Reason, err)
	}
	return nil
}

func (w *Writer) count(e *Event) {
	e.Count = 1
	if prev, ok := w.last[e.object()]; ok && prev.same(e) {
		e.Count = prev.Count + 1
	}
	if len(w.last) >= maxCounted {
		clear(w.last)
	}
	w.last[e.object()] = *e
}

// write appends line under the file's lock, beginning a new file when it is full.
func (w *Writer) write(line []byte) (err error) {
	f, size, err := w.lockCurrent()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if size > 0 && size+int64(len(line)) > w.maxBytes {
		// Writers waiting for the lock notice that the name moved on and try again.
		if err := os.Rename(w.path, w.path+oldSuffix); err != nil {
			return err
		}
		fresh, _, err := w.lockCurrent()
		if err != nil {
			return err
		}
		f, fresh = fresh, f
		size = 0
		if err := fresh.Close(); err != nil {
			return err
		}
	}
	if torn(f, size) {
		line = append([]byte{'\n'}, line...)
	}
	// gofail: var eventWriting struct{}
	_, err = f.Write(line)
	// gofail: var eventWritten struct{}
	return err
}

// lockCurrent opens and locks the file that has the journal's name now.
func (w *Writer) lockCurrent() (*os.File, int64, error) {
	for {
		f, err := os.OpenFile(w.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return nil, 0, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			return nil, 0, errors.Join(fmt.Errorf("lock %s: %w", w.path, err), f.Close())
		}
		opened, err := f.Stat()
		if err != nil {
			return nil, 0, errors.Join(err, f.Close())
		}
		if named, err := os.Stat(w.path); err == nil && os.SameFile(opened, named) {
			return f, opened.Size(), nil
		}
		if err := f.Close(); err != nil {
			return nil, 0, err
		}
	}
}

// torn tells whether the file's last line was never finished.
func torn(f *os.File, size int64) bool {
	if size == 0 {
		return false
	}
	last := make([]byte, 1)
	_, err := f.ReadAt(last, size-1)
	return err == nil && last[0] != '\n'
}
