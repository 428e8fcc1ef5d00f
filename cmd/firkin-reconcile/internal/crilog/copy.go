package crilog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// ErrNoLog says that there is no log of the run asked for.
var ErrNoLog = errors.New("no log")

const (
	// pollInterval is how often a followed log is looked at.
	pollInterval = 100 * time.Millisecond
	// endedEvery is how many looks without news it takes to ask whether all has ended.
	endedEvery = 5
	// maxLine bounds one line; shims write far shorter ones.
	maxLine = 1 << 20
)

// Options say what of a log to copy.
type Options struct {
	// Follow goes on with what is written later, and with later runs.
	Follow bool
	// Previous is the run before the last one.
	Previous bool
	// Tail is how many last lines to begin with; negative is all.
	Tail       int
	Timestamps bool
	// Ended tells, while following, that nothing more will be written.
	Ended func(ctx context.Context) bool
}

// Copy writes the log of a container's last run, kept in dir, to w. Following ends
// without an error when ctx ends or when Ended says so.
func Copy(ctx context.Context, w io.Writer, dir string, opt Options) error {
	run, err := choose(ctx, dir, opt)
	if err != nil {
		return err
	}
	c := &copier{dir: dir, run: run, out: printer{w: w, timestamps: opt.Timestamps}}
	defer c.close()
	if err := c.begin(opt.Tail); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	if !opt.Follow {
		return nil
	}
	return c.follow(ctx, opt.Ended)
}

func choose(ctx context.Context, dir string, opt Options) (int, error) {
	back := 1
	if opt.Previous {
		back = 2
	}
	for quiet := 1; ; quiet++ {
		found, err := runs(dir)
		if err != nil {
			return 0, fmt.Errorf("read log: %w", err)
		}
		if len(found) >= back {
			return found[len(found)-back], nil
		}
		if !opt.Follow || opt.Previous {
			return 0, ErrNoLog
		}
		if !wait(ctx) || quiet%endedEvery == 0 && opt.Ended != nil && opt.Ended(ctx) {
			return 0, ErrNoLog
		}
	}
}

// wait pauses between two looks; false when ctx has ended.
func wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pollInterval):
		return true
	}
}

// copier reads one log as it grows: through the parts of a run, then the next run.
type copier struct {
	dir     string
	run     int
	file    *os.File
	partial []byte
	out     printer
}

// begin writes what there is of the run, or its last lines.
func (c *copier) begin(tail int) error {
	if tail < 0 {
		_, err := c.drain(c.out.print)
		return err
	}
	var last [][]Record // whole lines, then the unfinished one
	line := []Record(nil)
	_, err := c.drain(func(r Record) error {
		line = append(line, Record{Time: r.Time, Stream: r.Stream, Whole: r.Whole, Text: bytes.Clone(r.Text)})
		if r.Whole {
			last = append(last, line)
			line = nil
		}
		if len(last) > 2*tail+16 {
			last = append(last[:0], last[len(last)-tail:]...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if line != nil {
		last = append(last, line)
	}
	for _, records := range last[max(0, len(last)-tail):] {
		for _, r := range records {
			if err := c.out.print(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// drain gives each record that has come since, across parts; it says whether any has.
func (c *copier) drain(each func(Record) error) (news bool, err error) {
	for {
		next, err := c.next()
		if err != nil {
			return news, err
		}
		if c.file != nil {
			got, err := c.read(each)
			news = news || got
			if err != nil {
				return news, err
			}
		}
		if next == "" {
			return news, nil
		}
		if err := c.open(next); err != nil {
			return news, err
		}
	}
}

// next returns the part after the one that is open, "" when it is the last one.
// Asked before reading, so that a part which has a next one is read to its end.
func (c *copier) next() (string, error) {
	names, err := parts(c.dir, c.run)
	if err != nil {
		return "", err
	}
	if c.file == nil {
		return names[0], nil
	}
	opened, err := c.file.Stat()
	if err != nil {
		return "", err
	}
	for i, name := range names {
		info, err := os.Stat(name)
		if err == nil && os.SameFile(info, opened) {
			if i+1 < len(names) {
				return names[i+1], nil
			}
			return "", nil
		}
	}
	if exists(names[0]) {
		return names[0], nil
	}
	return "", nil // the whole run is gone
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func (c *copier) open(name string) error {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // renamed in between: the next look finds it
	}
	if err != nil {
		return err
	}
	c.close()
	c.file = f
	return nil
}

func (c *copier) close() {
	if c.file != nil {
		_ = c.file.Close() // only read from
		c.file = nil
	}
}

// read gives each whole record that can be read now. A line that is no record is skipped.
func (c *copier) read(each func(Record) error) (news bool, err error) {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.file.Read(buf)
		c.partial = append(c.partial, buf[:n]...)
		for {
			line, rest, whole := bytes.Cut(c.partial, []byte("\n"))
			if !whole {
				break
			}
			c.partial = rest
			if r, ok := Parse(line); ok {
				news = true
				if err := each(r); err != nil {
					return news, err
				}
			}
		}
		if len(c.partial) > maxLine {
			c.partial = nil
		}
		c.partial = bytes.Clone(c.partial) // what was read is not held by its tail
		if errors.Is(err, io.EOF) {
			return news, nil
		}
		if err != nil {
			return news, err
		}
	}
}

// follow goes on with what comes, until ctx ends or all has ended.
func (c *copier) follow(ctx context.Context, ended func(context.Context) bool) error {
	for quiet := 0; ; quiet++ {
		if !wait(ctx) {
			return nil
		}
		// Asked before reading: what was written by then is read below.
		over := quiet > 0 && quiet%endedEvery == 0 && ended != nil && ended(ctx)
		news, err := c.drain(c.out.print)
		if err != nil {
			return fmt.Errorf("follow log: %w", err)
		}
		if news {
			quiet = 0
		}
		later, err := c.later()
		if err != nil {
			return fmt.Errorf("follow log: %w", err)
		}
		switch {
		case later:
			quiet = 0
		case over:
			return nil
		}
	}
}

// later moves on to the next run, if there is one. All of this run is read first.
func (c *copier) later() (bool, error) {
	found, err := runs(c.dir)
	if err != nil {
		return false, err
	}
	for _, n := range found {
		if n <= c.run {
			continue
		}
		if _, err := c.drain(c.out.print); err != nil {
			return false, err
		}
		c.close()
		c.run, c.partial = n, nil
		return true, nil
	}
	return false, nil
}
