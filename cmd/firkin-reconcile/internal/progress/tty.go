package progress

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// frame is how often the screen is redrawn: smooth to the eye, nothing to a CPU.
const frame = 100 * time.Millisecond

// spinner is what turns beside an action under way.
const spinner = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

// tty redraws a block of lines, one per pod and container, as docker compose does.
type tty struct {
	w      io.Writer
	screen Screen
	paint  render.Paint
	stop   chan struct{}
	ended  chan struct{}

	mu    sync.Mutex
	rows  []*row
	note  string
	step  string // of what is under way; gone once something has ended
	drawn int    // lines of the block that stand on the screen
	tick  int
}

// row is one object's line.
type row struct {
	pod    schema.Ref
	kind   reconcile.Kind
	name   string
	word   string
	since  time.Time
	took   time.Duration
	active bool
	err    error
}

func newTTY(w io.Writer, screen Screen, paint render.Paint) *tty {
	t := &tty{w: w, screen: screen, paint: paint, stop: make(chan struct{}), ended: make(chan struct{})}
	go t.animate()
	return t
}

func (t *tty) animate() {
	defer close(t.ended)
	ticker := time.NewTicker(frame)
	defer ticker.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-ticker.C:
			t.mu.Lock()
			t.tick++
			t.draw(nil)
			t.mu.Unlock()
		}
	}
}

func (t *tty) Started(a reconcile.Action) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.row(a)
	r.word, r.since, r.active, r.err = doing(a), time.Now(), true, nil
}

func (t *tty) Finished(a reconcile.Action, took time.Duration, result reconcile.Result, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.row(a)
	r.took, r.active, r.err = took, false, err
	t.step = ""
	if r.word = done(a, result); err != nil {
		r.word = "Failed: " + err.Error()
	}
}

// row returns the object's row, made in its place: pods in order of coming up, and
// what belongs to a pod below it.
func (t *tty) row(a reconcile.Action) *row {
	name := a.Name
	if a.Kind == reconcile.KindPod {
		name = a.Pod.Name
	}
	after := len(t.rows)
	for i, r := range t.rows {
		if r.pod != a.Pod {
			continue
		}
		if r.kind == a.Kind && r.name == name {
			return r
		}
		after = i + 1
	}
	r := &row{pod: a.Pod, kind: a.Kind, name: name}
	t.rows = slices.Insert(t.rows, after, r)
	return r
}

func (t *tty) Note(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note = text
}

func (t *tty) Step(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.step = text
}

// Write puts whole lines above the block.
func (t *tty) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draw(b)
	return len(b), nil
}

func (t *tty) Close() {
	close(t.stop)
	<-t.ended
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note, t.step = "", ""
	t.draw(nil)
}

// draw writes above, then the block anew. The caller holds t.mu.
func (t *tty) draw(above []byte) {
	var out bytes.Buffer
	if t.drawn > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", t.drawn)
	}
	out.WriteString("\r\x1b[J")
	if len(above) > 0 {
		out.Write(above)
		if above[len(above)-1] != '\n' {
			out.WriteByte('\n')
		}
	}
	lines := t.lines()
	for _, line := range lines {
		out.WriteString(line + "\n")
	}
	t.drawn = len(lines)
	_, _ = t.w.Write(out.Bytes()) // talk: nobody to tell when it cannot be written
}

// lines is the block, cut to the screen; what is going on is kept rather than what is done.
func (t *tty) lines() []string {
	if len(t.rows) == 0 && t.note == "" {
		return nil
	}
	columns, height := t.screen.Size()
	complete := 0
	for _, r := range t.rows {
		if !r.active && r.err == nil {
			complete++
		}
	}
	head := fmt.Sprintf("[+] %d/%d", complete, len(t.rows))
	for _, text := range []string{t.note, t.step} {
		if text != "" {
			head += "  " + render.Safe(text)
		}
	}
	lines := []string{cut(head, columns)}
	shown := t.rows
	if room := max(height-2, 1); len(shown) > room {
		shown = slices.Clone(shown)
		slices.SortStableFunc(shown, func(a, b *row) int { return weight(a) - weight(b) })
		shown = shown[:room]
	}
	for _, r := range shown {
		lines = append(lines, t.line(r, columns))
	}
	return lines
}

func weight(r *row) int {
	switch {
	case r.active:
		return 0
	case r.err != nil:
		return 1
	default:
		return 2
	}
}

func (t *tty) line(r *row, columns int) string {
	name := "Pod " + r.pod.String()
	if r.kind != reconcile.KindPod {
		name = "  " + strings.ToUpper(string(r.kind[:1])) + string(r.kind[1:]) + " " + r.name
	}
	took := r.took
	if r.active {
		took = time.Since(r.since)
	}
	const nameWidth, tookWidth, mark = 34, 8, 3
	text := fmt.Sprintf("%-*s %s", nameWidth, cut(render.Safe(name), nameWidth), render.Safe(r.word))
	room := max(columns-tookWidth-mark-1, nameWidth)
	text = fmt.Sprintf("%-*s %*s", room, cut(text, room), tookWidth, render.Took(took))
	turning := []rune(spinner)
	switch {
	case r.active:
		return " " + t.paint.Yellow(string(turning[t.tick%len(turning)])) + " " + text
	case r.err != nil:
		return " " + t.paint.Red("✘") + " " + text
	default:
		return " " + t.paint.Green("✔") + " " + text
	}
}

// cut shortens s to n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	runes := []rune(s)
	return string(runes[:max(n-1, 0)]) + "…"
}
