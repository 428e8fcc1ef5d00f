package reconcile

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Rest before the same is done to a pod again after it succeeded, as when its agent says
// "done" and does nothing: 1 s doubling to 20 s, less than any back-off of restarts, so that
// what ends by itself is not started later for it, and less than a change of mind may take.
// Forgotten after 10 minutes.
const (
	repeatFirst = time.Second
	repeatMost  = 20 * time.Second
	repeatReset = 10 * time.Minute
	// repeatKinds is how many different things of a pod are remembered: what comes to nothing
	// may take turns.
	repeatKinds = 8
)

// done is something that was done to a pod, how many times, and when last.
type done struct {
	what  string
	times int
	at    time.Time
}

// doneLog is what was done to pods, all of it with success.
type doneLog struct {
	pods  map[schema.Ref][]done // of each the last ones, the latest at the end
	swept time.Time             // when old entries were last forgotten
}

func (d done) isOld(now time.Time) bool { return now.Sub(d.at) >= repeatReset }

// wordsOf tells what actions on a pod are, and why.
func wordsOf(actions []Action) string {
	var what strings.Builder
	for _, a := range actions {
		what.WriteString(a.String() + " " + a.Cause + "\n")
	}
	return what.String()
}

// note notes that actions on a pod succeeded.
func (l *doneLog) note(actions []Action, now time.Time) {
	l.sweep(now)
	ref, d := actions[0].Pod, done{what: wordsOf(actions), times: 1, at: now}
	list := l.pods[ref]
	if i := l.find(list, d.what); i >= 0 {
		if !list[i].isOld(now) {
			d.times += list[i].times
		}
		list = slices.Delete(list, i, i+1)
	}
	list = append(list, d)
	l.pods[ref] = list[max(0, len(list)-repeatKinds):]
}

func (l *doneLog) find(list []done, what string) int {
	return slices.IndexFunc(list, func(d done) bool { return d.what == what })
}

// until is when the same may be done to a pod again: in the past, unless it was done over and over.
func (l *doneLog) until(actions []Action, now time.Time) time.Time {
	list := l.pods[actions[0].Pod]
	if len(list) == 0 {
		return now
	}
	i := l.find(list, wordsOf(actions))
	if i < 0 || list[i].times == 1 || list[i].isOld(now) {
		return now
	}
	return list[i].at.Add(doubling(repeatFirst, repeatMost, list[i].times-1))
}

// sweep forgets what is old, now and then.
func (l *doneLog) sweep(now time.Time) {
	if now.Sub(l.swept) < repeatReset {
		return
	}
	l.swept = now
	maps.DeleteFunc(l.pods, func(_ schema.Ref, list []done) bool { return list[len(list)-1].isOld(now) })
}
