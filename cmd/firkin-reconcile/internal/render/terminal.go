package render

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"
)

// maxColour bounds a colour sequence, in bytes; longer ones are shown as they are spelled.
const maxColour = 32

// Terminal lets a stranger's text reach a terminal, which obeys what it is sent: lines, tabs
// and colours pass, and whatever else could command it is shown as escapes. Bytes may be
// split between writes anywhere. It is not safe for concurrent use.
type Terminal struct {
	w io.Writer
	// held is the beginning of a character or a colour sequence.
	held     []byte
	coloured bool
}

// NewTerminal returns a Terminal on w.
func NewTerminal(w io.Writer) *Terminal { return &Terminal{w: w} }

// Write implements io.Writer.
func (t *Terminal) Write(b []byte) (int, error) {
	in := slices.Concat(t.held, b)
	var out []byte
	for len(in) > 0 {
		n, cut := t.next(in)
		if cut {
			break
		}
		out = appendSafe(out, in[:n])
		in = in[n:]
	}
	t.held = in
	if _, err := t.w.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Flush shows what is left of a text that ended in the middle of something, and undoes its colours.
func (t *Terminal) Flush() error {
	var out []byte
	for _, b := range t.held {
		out = appendSafe(out, []byte{b})
	}
	t.held = nil
	if t.coloured {
		out = append(out, sgrReset...)
	}
	_, err := t.w.Write(out)
	return err
}

// next is how many bytes the next character or colour sequence has; cut, that its end is
// still to come.
func (t *Terminal) next(in []byte) (n int, cut bool) {
	switch n, cut = colour(in); {
	case cut:
		return 0, true
	case n > 0:
		t.coloured = true
		return n, false
	case !utf8.FullRune(in):
		return 0, true
	}
	_, n = utf8.DecodeRune(in)
	return n, false
}

// colour is the length of the colour sequence (SGR) that in begins with, 0 for none.
func colour(in []byte) (n int, cut bool) {
	const start = "\x1b["
	for i, b := range in[:min(len(in), maxColour)] {
		switch {
		case i < len(start):
			if b != start[i] {
				return 0, false
			}
		case b == 'm':
			return i + 1, false
		case (b < '0' || b > '9') && b != ';' && b != ':':
			return 0, false
		}
	}
	return 0, len(in) < maxColour
}

// appendSafe appends one character or colour sequence, escaped if it is neither text nor colour.
func appendSafe(out, one []byte) []byte {
	r, n := utf8.DecodeRune(one)
	switch {
	case n < len(one), r == '\n', r == '\t', r == '\r':
		return append(out, one...)
	case r == utf8.RuneError && n == 1:
		return fmt.Appendf(out, `\x%02x`, one[0])
	case unsafe(r):
		quoted := strconv.QuoteRuneToASCII(r)
		return append(out, quoted[1:len(quoted)-1]...)
	}
	return append(out, one...)
}
