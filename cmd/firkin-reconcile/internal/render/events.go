package render

import (
	"io"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/journal"
)

// Events writes events as kubectl does.
func Events(w io.Writer, events []journal.Event, now time.Time) error {
	rows := make([][]string, 0, len(events))
	for i := range events {
		e := &events[i]
		rows = append(rows, []string{Age(e.Time, now), string(e.Type), e.Reason, EventObject(e), eventMessage(e)})
	}
	return Table(w, []string{"LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"}, rows)
}

// EventLine is one event of those that are followed.
func EventLine(e *journal.Event, paint Paint) string {
	kind := string(e.Type)
	if e.Type == journal.Warning {
		kind = paint.Yellow(kind)
	}
	return strings.Join([]string{
		e.Time.Local().Format(time.RFC3339), kind, Safe(e.Reason), Safe(EventObject(e)), Safe(eventMessage(e)),
	}, "  ")
}

// EventObject names what an event is about.
func EventObject(e *journal.Event) string {
	switch {
	case e.Pod == "":
		return orNone(e.Object)
	case e.Object == "" || e.Object == "pod":
		return "pod/" + e.Pod
	default:
		return "pod/" + e.Pod + " " + e.Object
	}
}

func eventMessage(e *journal.Event) string {
	text := e.Message
	if e.Count > 1 {
		text += " (" + count(e.Count, "time") + ")"
	}
	if e.Commit != "" {
		text += " [" + Commit(e.Commit) + "]"
	}
	return text
}
