package reconcile

import (
	"maps"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Rest of a pod whose actions succeed and are then wanted again, as when its agent says
// "done" and does nothing: 1 s doubling to 60 s, less than any back-off of restarts, so
// that what ends by itself is not started later for it. Forgotten after 10 minutes.
const (
	repeatFirst = time.Second
	repeatMost  = time.Minute
	repeatReset = 10 * time.Minute
)

// done is what was done to a pod last, how many times in a row, and when.
type done struct {
	what  string
	times int
	at    time.Time
}

// doneLog is what was done to pods, all of it with success.
type doneLog struct {
	pods  map[schema.Ref]done
	swept time.Time // when old entries were last forgotten
}

// note notes that actions on a pod succeeded; it returns how long the pod is then left alone.
func (l *doneLog) note(actions []Action, now time.Time) time.Duration {
	l.sweep(now)
	var what strings.Builder
	for _, a := range actions {
		what.WriteString(a.String() + " " + a.Cause + "\n")
	}
	ref := actions[0].Pod
	d := l.pods[ref]
	if d.what != what.String() || now.Sub(d.at) >= repeatReset {
		d = done{what: what.String()}
	}
	d.times++
	d.at = now
	l.pods[ref] = d
	if d.times == 1 {
		return 0
	}
	return doubling(repeatFirst, repeatMost, d.times-1)
}

// sweep forgets what is old, now and then.
func (l *doneLog) sweep(now time.Time) {
	if now.Sub(l.swept) < repeatReset {
		return
	}
	l.swept = now
	maps.DeleteFunc(l.pods, func(_ schema.Ref, d done) bool { return now.Sub(d.at) >= repeatReset })
}
