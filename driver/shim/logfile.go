package shim

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxLogBytes is when a log file is rotated; maxLogFiles of them are kept for one
	// start of a container, the current one included.
	maxLogBytes = 10 << 20
	maxLogFiles = 5
	// maxLogStarts is for how many starts of a container logs are kept.
	maxLogStarts = 3
	// maxLogLine is the longest piece of a line in one entry; longer lines, and ends
	// of output without a newline, are entries tagged P (partial).
	maxLogLine = 16 << 10
)

// logFile is the log of one start of a container in the CRI format: one entry a
// line, "<RFC3339Nano> stdout|stderr F|P <bytes>". F ends a line of the output, P
// does not, so the output's bytes can be had back exactly.
type logFile struct {
	root    *os.Root
	name    string // below root
	restart uint32
	file    *os.File
	size    int64
	buf     []byte
	// dropped counts bytes that could not be written.
	dropped uint64
}

// openLogFile opens the log of a container's start for appending, and removes those
// of starts long past.
func openLogFile(root *os.Root, container string, restart uint32) (*logFile, error) {
	if err := root.Mkdir(container, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	if err := pruneStarts(root, container, restart); err != nil {
		return nil, err
	}
	f := &logFile{root: root, name: path.Join(container, strconv.FormatUint(uint64(restart), 10)+".log"), restart: restart}
	return f, f.open()
}

func (f *logFile) open() error {
	file, err := f.root.OpenFile(f.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return fmt.Errorf("open log: %w", err)
	}
	f.file, f.size = file, info.Size()
	return nil
}

// append writes a chunk of one stream, after a line that says how many bytes before
// it were lost, if any.
func (f *logFile) append(at time.Time, stderr bool, lost uint64, data []byte) error {
	f.buf = f.buf[:0]
	stamp := at.UTC().Format(time.RFC3339Nano)
	if lost += f.dropped; lost > 0 {
		f.entry(stamp, true, "F", fmt.Appendf(nil, "[firkin: %d bytes of output were lost here]", lost))
	}
	for rest := data; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		tag := "F"
		if len(line) > maxLogLine {
			line, after, whole = rest[:maxLogLine], rest[maxLogLine:], false
		}
		if !whole {
			tag = "P"
		}
		f.entry(stamp, stderr, tag, line)
		rest = after
	}
	err := f.flush()
	if err != nil {
		f.dropped = lost + uint64(len(data))
		return err
	}
	f.dropped = 0
	return nil
}

func (f *logFile) entry(stamp string, stderr bool, tag string, line []byte) {
	stream := "stdout"
	if stderr {
		stream = "stderr"
	}
	f.buf = append(f.buf, stamp...)
	f.buf = append(f.buf, ' ')
	f.buf = append(f.buf, stream...)
	f.buf = append(f.buf, ' ')
	f.buf = append(f.buf, tag...)
	f.buf = append(f.buf, ' ')
	f.buf = append(f.buf, line...)
	f.buf = append(f.buf, '\n')
}

// flush writes the entries, to a new file when this one would become too big. A
// write that failed half-way is taken back.
func (f *logFile) flush() error {
	if f.file == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.size > 0 && f.size+int64(len(f.buf)) > maxLogBytes {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	n, err := f.file.Write(f.buf)
	if err != nil {
		if n > 0 {
			err = errors.Join(err, f.file.Truncate(f.size))
		}
		return fmt.Errorf("write log: %w", err)
	}
	f.size += int64(n)
	if cap(f.buf) > 4*maxLogLine {
		f.buf = nil
	}
	return nil
}

// rotate moves N.log to N.log.1, N.log.1 to N.log.2, and so on; the last goes.
func (f *logFile) rotate() error {
	f.close()
	for i := maxLogFiles - 2; i >= 0; i-- {
		from := f.name
		if i > 0 {
			from += "." + strconv.Itoa(i)
		}
		if err := f.root.Rename(from, f.name+"."+strconv.Itoa(i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	return f.open()
}

func (f *logFile) close() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

// pruneStarts removes the logs of all but the latest starts, counting the one to come.
func pruneStarts(root *os.Root, container string, restart uint32) error {
	entries, err := fs.ReadDir(root.FS(), container)
	if err != nil {
		return fmt.Errorf("list logs: %w", err)
	}
	byStart := make(map[uint32][]string)
	for _, e := range entries {
		number, _, _ := strings.Cut(e.Name(), ".log")
		n, err := strconv.ParseUint(number, 10, 32)
		if err == nil && uint32(n) != restart {
			byStart[uint32(n)] = append(byStart[uint32(n)], e.Name())
		}
	}
	starts := make([]uint32, 0, len(byStart))
	for n := range byStart {
		starts = append(starts, n)
	}
	slices.SortFunc(starts, func(a, b uint32) int { return cmp.Compare(b, a) })
	for _, n := range starts[min(maxLogStarts-1, len(starts)):] {
		for _, name := range byStart[n] {
			if err := root.Remove(path.Join(container, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove old log: %w", err)
			}
		}
	}
	return nil
}
