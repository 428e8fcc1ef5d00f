package journal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// pollInterval is how often a follower looks for more.
const pollInterval = 200 * time.Millisecond

// Read returns the events of the journal in dir, oldest first. Lines that are not
// events (a torn end) are skipped. A journal that does not exist is empty.
func Read(dir string) ([]Event, error) {
	var events []Event
	path := filepath.Join(dir, FileName)
	for _, name := range []string{path + oldSuffix, path} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		got, err := decode(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("read events %s: %w", name, err)
		}
		events = append(events, got...)
	}
	return events, nil
}

// Follow calls each for all events of the journal in dir, then for new ones as they
// come, until ctx ends (then it returns nil) or each fails (then with its error).
func Follow(ctx context.Context, dir string, each func(Event) error) error {
	t := &tail{path: filepath.Join(dir, FileName)}
	defer t.close()
	for {
		events, err := t.more()
		if err != nil {
			return fmt.Errorf("follow events: %w", err)
		}
		for _, e := range events {
			if err := each(e); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pollInterval):
		}
	}
}

// tail reads a journal as it grows, across the beginning of a new file.
type tail struct {
	path    string
	file    *os.File
	partial []byte
	begun   bool // the earlier file was read
}

// earlier returns what stands in the file before the current one. The current one
// is opened first: when the name moves on in between, it is still what comes next.
func (t *tail) earlier() ([]Event, error) {
	old, err := os.Open(t.path + oldSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var events []Event
	if !same(t.file, old) {
		events, err = decode(old)
	}
	return events, errors.Join(err, old.Close())
}

// open opens the current file, if it is not open and there is one.
func (t *tail) open() error {
	if t.file != nil {
		return nil
	}
	f, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	t.file = f
	return nil
}

func same(a, b *os.File) bool {
	if a == nil {
		return false
	}
	infoA, errA := a.Stat()
	infoB, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// more returns what has come since, up to the end of the current file.
func (t *tail) more() ([]Event, error) {
	var events []Event
	for {
		if err := t.open(); err != nil || t.file == nil {
			return events, err
		}
		if !t.begun {
			before, err := t.earlier()
			if err != nil {
				return nil, err
			}
			events, t.begun = append(events, before...), true
		}
		// Whether the file was replaced is asked first: what is read after that is all of it.
		replaced := t.replaced()
		data, err := io.ReadAll(t.file)
		if err != nil {
			return nil, err
		}
		t.partial = append(t.partial, data...)
		whole := bytes.LastIndexByte(t.partial, '\n') + 1
		got, err := decode(bytes.NewReader(t.partial[:whole]))
		if err != nil {
			return nil, err
		}
		events = append(events, got...)
		t.partial = append([]byte(nil), t.partial[whole:]...)
		if !replaced {
			return events, nil
		}
		t.close()
	}
}

func (t *tail) replaced() bool {
	opened, err := t.file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(t.path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(opened, named)
}

func (t *tail) close() {
	if t.file != nil {
		_ = t.file.Close() // only read from
	}
	t.file, t.partial = nil, nil
}

// decode returns the events among r's lines. A line too long to be ours, or that
// is no event, is skipped.
func decode(r io.Reader) ([]Event, error) {
	var events []Event
	br := bufio.NewReaderSize(r, maxLineBytes)
	for {
		line, err := br.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = br.ReadSlice('\n')
		}
		if e, ok := parse(line); ok && !long {
			events = append(events, e)
		}
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// parse reads one line. What lacks a time or a reason is not an event.
func parse(line []byte) (Event, bool) {
	var e Event
	if json.Unmarshal(line, &e) != nil || e.Time.IsZero() || e.Reason == "" {
		return Event{}, false
	}
	return e, true
}
