package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/firkin-dev/firkin-reconcile/actual"
	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/progress"
	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/journal"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// actionRecord is one action of `apply -o json`.
type actionRecord struct {
	render.ActionJSON
	Start time.Time `json:"start"`
	// Duration is in seconds.
	Duration float64 `json:"duration"`
	// Result is done or failed.
	Result       string        `json:"result"`
	Error        string        `json:"error,omitempty"`
	ExitCode     *int          `json:"exitCode,omitempty"`
	TrimmedBytes int64         `json:"trimmedBytes,omitempty"`
	Phases       []phaseRecord `json:"phases,omitempty"`
}

// phaseRecord is one timed step of an action, in seconds.
type phaseRecord struct {
	Name     string  `json:"name"`
	Duration float64 `json:"duration"`
}

// recorder is told what the loop does: it shows it, writes it to the journal and,
// for apply, keeps it.
type recorder struct {
	stack   *stack
	display progress.Display
	keep    bool // every action, for apply's report
	loud    bool // holds are logged, as nobody is there to be told at the end

	mu      sync.Mutex
	records []actionRecord
	counts  render.Summary
	failed  int
	held    []string
	awaited awaited
	note    string // what was last said to be waited for
	health  healthWatch
	waiting []reconcile.Pending
	tagTold bool          // that images are named by tag only
	tagless []*schema.Pod // before it was told: pods without such an image
}

// ActionStarted implements reconcile.Observer.
func (r *recorder) ActionStarted(a reconcile.Action) { r.display.Started(a) }

// ActionFinished implements reconcile.Observer.
func (r *recorder) ActionFinished(a reconcile.Action, took time.Duration, result reconcile.Result, err error) {
	r.display.Finished(a, took, result, err)
	r.stack.record(eventOf(a, took, result, err))
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.counts.Count(a.Type)
	} else {
		r.failed++
	}
	if r.keep {
		r.records = append(r.records, recordOf(a, took, result, err))
	}
}

// Looked implements reconcile.Observer.
func (r *recorder) Looked(want schema.DesiredState, seen schema.ActualState, plan reconcile.Plan) {
	r.hold(holdTexts(&want, plan.Holds))
	r.warnByTag(want.Pods)
	r.mu.Lock()
	events := r.health.look(seen.Pods)
	r.mu.Unlock()
	for _, e := range append(events, r.lacking(plan.Pending)...) {
		r.stack.record(e)
	}
	if plan.Empty() {
		r.await(want.Pods, seen.Pods)
	}
}

// warnByTag warns of images that are named by tag only, the first time that there are some.
func (r *recorder) warnByTag(pods []*schema.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.loud || r.tagTold {
		return
	}
	fresh := notAmong(pods, r.tagless)
	r.tagless = pods
	for _, w := range byTag(fresh) {
		r.tagTold, r.tagless = true, nil
		r.stack.app.slog.Warn("images by tag", "cause", w)
	}
}

// lacking are events of what has begun to wait for something that no manifest gives.
func (r *recorder) lacking(pending []reconcile.Pending) []journal.Event {
	missing := slices.DeleteFunc(slices.Clone(pending), func(p reconcile.Pending) bool { return !p.Missing })
	r.mu.Lock()
	fresh := slices.DeleteFunc(slices.Clone(missing), func(p reconcile.Pending) bool { return slices.Contains(r.waiting, p) })
	r.waiting = missing
	r.mu.Unlock()
	var events []journal.Event
	for _, p := range fresh {
		reason := reconcile.ReasonConfigError
		if p.Kind == reconcile.KindVolume {
			reason = "FailedMount"
		}
		events = append(events, journal.Event{
			Type: journal.Warning, Reason: reason, Pod: p.Pod.String(), Object: string(p.Kind) + "/" + p.Name, Message: "it " + p.Reason,
		})
	}
	return events
}

// await shows what is waited for, when that has changed.
func (r *recorder) await(want []*schema.Pod, seen []*schema.PodStatus) {
	r.mu.Lock()
	text := r.awaited.look(want, seen)
	changed := text != r.note
	r.note = text
	r.mu.Unlock()
	if changed && text != "" {
		r.display.Note(text)
	}
}

// hold says what is held back, when that has changed since it was said last.
func (r *recorder) hold(held []string) {
	r.mu.Lock()
	fresh := slices.DeleteFunc(slices.Clone(held), func(h string) bool { return slices.Contains(r.held, h) })
	gone := slices.DeleteFunc(slices.Clone(r.held), func(h string) bool { return slices.Contains(held, h) })
	over := len(r.held) > 0 && len(held) == 0
	r.held = slices.Clone(held)
	r.mu.Unlock()
	for _, h := range fresh {
		if r.loud {
			r.stack.app.slog.Warn("held", "cause", h)
		}
		r.stack.record(journal.Event{Type: journal.Warning, Reason: reasonHeld, Object: objectManifests, Message: h})
	}
	if over {
		if r.loud {
			r.stack.app.slog.Warn("nothing is held any more")
		}
		r.stack.record(journal.Event{Type: journal.Normal, Reason: reasonReleased, Object: objectManifests, Message: releasedAll})
		return
	}
	for _, h := range gone {
		r.stack.record(journal.Event{Type: journal.Normal, Reason: reasonReleased, Object: objectManifests, Message: releasedPrefix + h})
	}
}

func recordOf(a reconcile.Action, took time.Duration, result reconcile.Result, err error) actionRecord {
	rec := actionRecord{
		ActionJSON:   render.NewAction(a),
		Start:        time.Now().Add(-took).UTC(),
		Duration:     took.Seconds(),
		Result:       "done",
		ExitCode:     result.ExitCode,
		TrimmedBytes: result.TrimmedBytes,
	}
	if err != nil {
		rec.Result, rec.Error = "failed", err.Error()
	}
	for _, p := range result.Phases {
		rec.Phases = append(rec.Phases, phaseRecord{Name: p.Name, Duration: p.Took.Seconds()})
	}
	return rec
}

// eventOf is an action as an event.
func eventOf(a reconcile.Action, took time.Duration, result reconcile.Result, err error) journal.Event {
	e := journal.Event{Type: journal.Normal, Pod: a.Pod.String(), Object: "pod", Message: a.Cause}
	if a.Kind != reconcile.KindPod {
		e.Object = string(a.Kind) + "/" + a.Name
	}
	if a.Spec != nil {
		e.Commit = a.Spec.Origin.Commit
	}
	switch {
	case err != nil:
		e.Type, e.Reason, e.Message = journal.Warning, actual.Reason(a, err), err.Error()
		return e
	case a.Type == reconcile.Add && a.Kind == reconcile.KindPod:
		e.Reason = "Booted"
	case a.Type == reconcile.Add && a.Kind == reconcile.KindContainer:
		e.Reason = "Started"
	case a.Type == reconcile.Add && a.Kind == reconcile.KindVolume:
		e.Reason = "Mounted"
	case a.Type == reconcile.Add:
		e.Reason = "Created"
	case a.Type == reconcile.Remove && a.Replacing:
		e.Reason = "Replacing"
	case a.Type == reconcile.Remove:
		e.Reason = "Removed"
	case a.Type == reconcile.Wait:
		e.Reason = "Exited"
	case a.Type == reconcile.Trim:
		e.Reason = "Trimmed"
		e.Message += ": gave back " + render.Bytes(result.TrimmedBytes)
	default:
		e.Reason = string(a.Type)
	}
	if a.Type == reconcile.Wait && result.ExitCode != nil {
		e.Message = fmt.Sprintf("%s: exit code %d", e.Message, *result.ExitCode)
		if *result.ExitCode != 0 {
			e.Type = journal.Warning
		}
	}
	e.Message += " (" + render.Took(took) + ")"
	return e
}
