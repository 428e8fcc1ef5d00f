package desired

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// maxFileBytes bounds what is read of one manifest: one byte more than schema.Parse
// takes, so that it says what is wrong.
const maxFileBytes = 4<<20 + 1

// stamp tells one content of a file from another without reading it. The change
// time cannot be set by users, unlike the modification time.
type stamp struct {
	dev, ino uint64
	size     int64
	mtime    int64
	ctime    int64
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), mtime: info.ModTime().UnixNano(), ctime: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.dev, s.ino, s.ctime = uint64(st.Dev), st.Ino, changeTime(st) //nolint:unconvert // an int32 on macOS
	}
	return s
}

// quiet tells whether a thing with this stamp has stood unchanged for settle: by its
// change time or, where that lies in the future (another machine's clock, a clock
// that was set back), by how long we have seen it so.
func (s stamp) quiet(seenSince time.Time, settle time.Duration) bool {
	now := time.Now()
	if age := now.Sub(time.Unix(0, s.ctime)); age >= 0 {
		return age >= settle
	}
	return now.Sub(seenSince) >= settle
}

// file is one manifest file.
type file struct {
	path   string // as the user would name it, links not resolved
	stamp  stamp
	seen   time.Time // since when it has this stamp
	parsed schema.Parsed
	// taken is the stamp of what parsed came from; zero when never read.
	taken stamp
	// settled is false while it is being written; parsed is then of an older content.
	settled bool
	// failed is why it could not be read, nil when it could.
	failed error
	// blank: it is there and holds nothing, as a file does that is yet to be written, or was
	// to be written to a full disk.
	blank bool
	// known is true once a version was read in which all pods it means were valid: what
	// a later, unclear version may still mean is among the last good pods.
	known bool
}

// reading is what was read of a file and is not taken yet.
type reading struct {
	file   *file
	parsed schema.Parsed
	blank  bool
	failed error
}

// take makes a reading what is known of its file.
func (r *reading) take() {
	f := r.file
	f.failed = r.failed
	if r.failed != nil {
		return
	}
	f.parsed, f.blank, f.taken = r.parsed, r.blank, f.stamp
	f.known = f.known || !f.parsed.Unreadable && len(f.parsed.Pods) == len(f.parsed.Refs)
}

// notice takes note of what was found; it says whether the file is to be read: it changed
// and has settled, or could not be read before.
func (f *file) notice(e entry, settle time.Duration) bool {
	if e.err != nil {
		f.settled = true
		return true
	}
	now := stampOf(e.info)
	if now != f.stamp || f.seen.IsZero() {
		f.stamp, f.seen = now, time.Now()
	}
	f.settled = f.stamp.quiet(f.seen, settle)
	return f.settled && (f.taken != f.stamp || f.failed != nil)
}

// read reads the file; nil means that it is being written.
func (f *file) read(e entry, opt schema.ParseOptions) *reading {
	if e.err != nil {
		return &reading{file: f, failed: e.err}
	}
	data, err := readSettled(f.path, f.stamp)
	switch {
	case errors.Is(err, errBusy):
		return nil
	case err != nil:
		return &reading{file: f, failed: err}
	}
	return &reading{file: f, parsed: schema.Parse(f.path, data, opt), blank: len(bytes.TrimSpace(data)) == 0}
}

// errBusy: the file is open for writing, or changed while it was read.
var errBusy = errors.New("the file is being written")

// readSettled reads a regular file whose stamp must be want before and after.
func readSettled(path string, want stamp) ([]byte, error) {
	// Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
	fd, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	defer fd.Close()
	if busy(fd) {
		return nil, errBusy
	}
	info, err := fd.Stat()
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read manifest %s: not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(fd, maxFileBytes))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	after, err := fd.Stat()
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if stampOf(info) != want || stampOf(after) != want {
		return nil, errBusy
	}
	return data, nil
}
