// Package crilog reads container logs in the CRI format, as shims write them:
// <dir>/<restart count>.log, older parts of the same run beside it as .log.1 (the
// youngest) and up.
package crilog

import (
	"bytes"
	"io"
	"time"
)

// Record is one entry of a log.
type Record struct {
	Time   time.Time
	Stream string // stdout or stderr
	// Whole is false for a part of a line that goes on in the stream's next record.
	Whole bool
	Text  []byte
}

// Parse reads one line without its end: "<RFC 3339 time> <stream> <F|P> <text>".
func Parse(line []byte) (Record, bool) {
	stamp, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return Record{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Record{}, false
	}
	stream, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok || string(stream) != "stdout" && string(stream) != "stderr" {
		return Record{}, false
	}
	tag, text, _ := bytes.Cut(rest, []byte(" "))
	// More tags may follow the first, separated by colons.
	first, _, _ := bytes.Cut(tag, []byte(":"))
	if string(first) != "F" && string(first) != "P" {
		return Record{}, false
	}
	return Record{Time: at, Stream: string(stream), Whole: string(first) == "F", Text: text}, true
}

// printer writes records as the lines they were.
type printer struct {
	w          io.Writer
	timestamps bool
	// open is the stream whose unfinished line was written last, "" at a line's beginning.
	open string
}

func (p *printer) print(r Record) error {
	var out []byte
	if p.open != "" && p.open != r.Stream {
		out = append(out, '\n')
		p.open = ""
	}
	if p.timestamps && p.open == "" {
		out = r.Time.AppendFormat(out, time.RFC3339Nano)
		out = append(out, ' ')
	}
	out = append(out, r.Text...)
	p.open = r.Stream
	if r.Whole {
		out = append(out, '\n')
		p.open = ""
	}
	_, err := p.w.Write(out)
	return err
}
