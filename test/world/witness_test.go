package world

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/firkin-dev/firkin-reconcile/actual"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// witness stands between the loop and the observer of one process, and judges what is done.
type witness struct {
	*actual.Observer
	w *world
	p *process
}

var _ interface {
	reconcile.Actual
	reconcile.Recorder
	reconcile.Observer
} = (*witness)(nil)

// Pods implements reconcile.Actual.
func (w *witness) Pods(ctx context.Context) (schema.ActualState, error) {
	state, err := w.Observer.Pods(ctx)
	if err == nil && w.w.bug.actual != nil {
		state.Pods = slices.Clone(state.Pods)
		for i, p := range state.Pods {
			own := *p // statuses are shared
			w.w.bug.actual(&own)
			state.Pods[i] = &own
		}
	}
	return state, err
}

// Apply implements reconcile.Actual.
func (w *witness) Apply(ctx context.Context, a reconcile.Action) (reconcile.Result, error) {
	if w.p.gate.killed() {
		return reconcile.Result{}, errDead
	}
	w.w.story.tell("  %s (%s)", a, a.Cause)
	if a.Type == reconcile.Remove && a.Kind == reconcile.KindPod && !a.Disruptive {
		w.nothing(a)
	}
	w.w.ledger.does(a.Pod, 1)
	defer w.w.ledger.does(a.Pod, -1)
	if !w.forgets(a) {
		w.w.ledger.due(a)
	}
	if !w.w.ledger.began(a) {
		time.Sleep(time.Second) // for the test to see it: a loop that spins lets no time pass
	}
	if w.w.bug.apply != nil && w.w.bug.apply(ctx, w.Observer, a) {
		w.w.ledger.ended(a, nil)
		return reconcile.Result{}, nil
	}
	result, err := w.Observer.Apply(ctx, a)
	switch {
	case w.p.gate.killed():
	case err == nil:
		w.w.story.tell("  done: %s", a)
		w.w.ledger.ended(a, nil)
	case errors.Is(ctx.Err(), context.Canceled):
		w.w.story.tell("  given up: %s", a)
	default:
		w.w.story.tell("  failed: %v", err)
		w.w.ledger.ended(a, err)
	}
	return result, err
}

// ActionStarted implements reconcile.Observer.
func (w *witness) ActionStarted(reconcile.Action) {}

// ActionFinished implements reconcile.Observer.
func (w *witness) ActionFinished(reconcile.Action, time.Duration, reconcile.Result, error) {}

// Looked implements reconcile.Observer: nothing is planned for a pod of which nothing is known.
func (w *witness) Looked(_ schema.DesiredState, seen schema.ActualState, plan reconcile.Plan) {
	if w.p.gate.killed() {
		return
	}
	for _, a := range plan.Actions {
		unknown := func(p *schema.PodStatus) bool { return p.Ref == a.Pod && p.Machine == schema.MachineUnknown }
		if slices.ContainsFunc(seen.Pods, unknown) {
			w.w.story.wrong(wrongRemoval, "%s is planned, and its machine is unknown", a)
		}
		w.allowed(a)
	}
	if w.w.ledger.planned(plan) {
		for _, h := range plan.Holds {
			w.w.story.tell("  held: %s", h.Reason)
		}
	}
}

// longSilence is how long a machine must have been silent for the reconciler to know: it
// lists every 15 seconds and waits 5 for an answer.
const longSilence = time.Minute

// allowed judges an action that is planned by what the manifests said, and by what is truly
// known. Later ones of a pod's list may be done when that is no longer so.
func (w *witness) allowed(a reconcile.Action) {
	// While a pod is worked on, what is planned for it is not begun: its machine may just have been started.
	d := w.w.host.silentFor(context.Background(), a.Pod.Name)
	if d > longSilence && w.w.listableFor(longSilence) && !w.w.ledger.busy(a.Pod.Name) {
		w.w.story.wrong(wrongRemoval, "%s, whose machine has not answered for %s", a, d)
	}
	said := w.p.reader.said()
	i := slices.IndexFunc(said.Pods, func(p *schema.Pod) bool { return p.Ref == a.Pod })
	isHeld := slices.ContainsFunc(said.Held, func(h schema.HeldPod) bool { return h.Ref == a.Pod })
	from := said.Sources[0]
	switch {
	case a.Type == reconcile.Remove && a.Kind == reconcile.KindPod && !a.Disruptive: // see nothing
	case i < 0 && isHeld && a.Type == reconcile.Remove && a.Kind == reconcile.KindPod:
		w.w.story.wrong(wrongRemoval, "%s, which is held", a)
	case i < 0 && isHeld:
	case i < 0 && (a.Type != reconcile.Remove || a.Kind != reconcile.KindPod):
		w.w.story.wrong(wrongRemoval, "%s, of which no manifest is known", a)
	case i < 0 && (!from.Known || len(from.HeldFiles) > 0 || from.Empty && !w.w.policy.AllowEmpty):
		w.w.story.wrong(wrongRemoval, "%s, and the manifests are not known: %s %v", a, from.Reason, from.HeldFiles)
	case i >= 0 && a.Type == reconcile.Remove && a.Kind == reconcile.KindPod && a.Spec != nil && a.Spec.VMDigest() == said.Pods[i].VMDigest():
		w.w.story.wrong(wrongRemoval, "%s, which is wanted as it is", a)
	}
}

// nothing judges the removal of a pod that is said to have no machine, which forgets its
// failures only.
func (w *witness) nothing(a reconcile.Action) {
	if m, err := w.w.host.machineOf(context.Background(), a.Pod.Name); err == nil && m != nil {
		w.w.story.wrong(wrongRemoval, "%s, which is said to have no machine", a)
	}
}

// forgets tells whether an action is the removal of a pod that has no machine any more: that
// waits for nothing.
func (w *witness) forgets(a reconcile.Action) bool {
	if a.Type != reconcile.Remove || a.Kind != reconcile.KindPod {
		return false
	}
	m, err := w.w.host.machineOf(context.Background(), a.Pod.Name)
	return err == nil && m == nil
}

// object is what a failure is remembered of.
type object struct {
	pod        schema.Ref
	kind       reconcile.Kind
	name       string
	typ        reconcile.ActionType
	specDigest string
}

// failing is a row of failures of one object.
type failing struct {
	what  object
	times int
	at    time.Time
}

// ledger counts actions, over all lives of the reconciler.
type ledger struct {
	story *story

	mu      sync.Mutex
	total   int
	failed  int
	starts  map[schema.Ref][]time.Time // of actions in the last minute
	events  []time.Time                // in the last minute: what gives reason to act
	failing map[string]failing
	holds   string
	doing   map[schema.Ref]int // actions under way
}

func newLedger(s *story) *ledger {
	return &ledger{story: s, starts: make(map[schema.Ref][]time.Time), failing: make(map[string]failing), doing: make(map[schema.Ref]int)}
}

// What a pod may do in a minute without anything happening, and what each event adds.
const (
	minuteActions = 100
	eventActions  = 25
)

func lastMinute(list []time.Time) []time.Time {
	return slices.DeleteFunc(list, func(t time.Time) bool { return time.Since(t) > time.Minute })
}

// does notes that an action begins or ends.
func (l *ledger) does(pod schema.Ref, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doing[pod] += n
}

// busy tells whether an action on a pod is under way.
func (l *ledger) busy(pod string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doing[refOf(pod)] > 0
}

// event notes that something happened.
func (l *ledger) event() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(lastMinute(l.events), time.Now())
}

// began notes an action; it says whether there were not too many.
func (l *ledger) began(a reconcile.Action) (few bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	list := append(lastMinute(l.starts[a.Pod]), time.Now())
	l.starts[a.Pod] = list
	l.events = lastMinute(l.events)
	most := minuteActions + eventActions*len(l.events)
	if len(list) > most {
		l.story.wrong(tooMany, "%d actions on pod %s, more than %d", len(list), a.Pod, most)
	}
	return len(list) <= most
}

// due judges whether an action that failed has been put off.
func (l *ledger) due(a reconcile.Action) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, ok := l.failing[slot(a)]
	if !ok || f.what != objectOf(a) {
		return
	}
	least := min(time.Second<<min(f.times-1, 10), 300*time.Second)
	if passed := time.Since(f.at); passed < least {
		l.story.wrong(hotLoop, "%s again %s after failure %d of it, want %s", a, passed, f.times, least)
	}
}

func (l *ledger) ended(a reconcile.Action, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil && a.Type == reconcile.Remove && a.Kind == reconcile.KindPod:
		for s, f := range l.failing {
			if f.what.pod == a.Pod {
				delete(l.failing, s)
			}
		}
	case err == nil:
		delete(l.failing, slot(a))
	default:
		l.failed++
		f := l.failing[slot(a)]
		if what := objectOf(a); f.what != what {
			f = failing{what: what}
		}
		f.times++
		f.at = time.Now()
		l.failing[slot(a)] = f
	}
}

// forgive forgets the failed actions of these types on a pod's machine: what happens to it is a
// reason to try again.
func (l *ledger) forgive(pod string, types ...reconcile.ActionType) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.failing, func(_ string, f failing) bool {
		return f.what.pod == refOf(pod) && f.what.kind == reconcile.KindPod && slices.Contains(types, f.what.typ)
	})
}

// planned tells whether what is held changed.
func (l *ledger) planned(plan reconcile.Plan) bool {
	text := ""
	for _, h := range plan.Holds {
		text += string(h.Kind) + h.Source
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	news := l.holds != text
	l.holds = text
	return news
}

// totals is how many actions there were, and how many of them failed.
func (l *ledger) totals() (actions, failures int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total, l.failed
}

// count is how many actions there were.
func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// slot is where the failures of an object are remembered.
func slot(a reconcile.Action) string { return fmt.Sprint(a.Pod, a.Kind, a.Name) }

func objectOf(a reconcile.Action) object {
	o := object{pod: a.Pod, kind: a.Kind, name: a.Name, typ: a.Type}
	if a.Spec == nil {
		return o
	}
	switch a.Kind {
	case reconcile.KindPod:
		o.specDigest = a.Spec.VMDigest()
	case reconcile.KindContainer:
		if c := a.Spec.Container(a.Name); c != nil {
			o.specDigest = c.Digest()
		}
	case reconcile.KindVolume:
		if v := a.Spec.Volume(a.Name); v != nil {
			o.specDigest = v.Digest()
		}
	case reconcile.KindEmptyDir:
		if e := a.Spec.EmptyDir(a.Name); e != nil {
			o.specDigest = e.Digest()
		}
	}
	return o
}
