package progress

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
)

// plain writes one line for each action that ended.
type plain struct {
	mu    sync.Mutex
	w     io.Writer
	paint render.Paint
}

func (p *plain) Started(reconcile.Action) {}

func (p *plain) Finished(a reconcile.Action, took time.Duration, r reconcile.Result, err error) {
	line := fmt.Sprintf("%s: %s (%s)", render.Safe(object(a)), done(a, r), render.Took(took))
	if err != nil {
		line = fmt.Sprintf("%s: %s: %s", render.Safe(object(a)), p.paint.Red(string(a.Type)+" failed"), render.Safe(err.Error()))
	}
	p.Note(line)
}

func (p *plain) Note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.w, text) // talk: nobody to tell when it cannot be written
}

func (p *plain) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.w.Write(b)
}

func (p *plain) Step(string) {}

func (p *plain) Close() {}

// silent shows nothing but what is written to it.
type silent struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *silent) Started(reconcile.Action) {}

func (s *silent) Finished(reconcile.Action, time.Duration, reconcile.Result, error) {}

func (s *silent) Note(string) {}

func (s *silent) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

func (s *silent) Step(string) {}

func (s *silent) Close() {}

// jsonLines writes one JSON object per happening.
type jsonLines struct {
	mu sync.Mutex
	w  io.Writer
}

// happening is one line of JSON progress.
type happening struct {
	Time    time.Time            `json:"time"`
	Event   string               `json:"event"` // started, finished, note
	Type    reconcile.ActionType `json:"type,omitempty"`
	Kind    reconcile.Kind       `json:"kind,omitempty"`
	Pod     string               `json:"pod,omitempty"`
	Name    string               `json:"name,omitempty"`
	Cause   string               `json:"cause,omitempty"`
	Seconds float64              `json:"seconds,omitempty"`
	Error   string               `json:"error,omitempty"`
	Message string               `json:"message,omitempty"`
}

func (j *jsonLines) Started(a reconcile.Action) {
	j.emit(happening{Event: "started", Type: a.Type, Kind: a.Kind, Pod: a.Pod.String(), Name: a.Name, Cause: a.Cause})
}

func (j *jsonLines) Finished(a reconcile.Action, took time.Duration, _ reconcile.Result, err error) {
	h := happening{Event: "finished", Type: a.Type, Kind: a.Kind, Pod: a.Pod.String(), Name: a.Name, Seconds: took.Seconds()}
	if err != nil {
		h.Error = err.Error()
	}
	j.emit(h)
}

func (j *jsonLines) Note(text string) { j.emit(happening{Event: "note", Message: text}) }

func (j *jsonLines) emit(h happening) {
	h.Time = time.Now().UTC()
	j.mu.Lock()
	defer j.mu.Unlock()
	_ = render.JSONLine(j.w, h) // talk: nobody to tell when it cannot be written
}

func (j *jsonLines) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.w.Write(b)
}

func (j *jsonLines) Step(string) {}

func (j *jsonLines) Close() {}
