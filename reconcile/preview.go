package reconcile

import (
	"slices"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// previewRounds bounds a preview: the longest honest one has two rounds per init container.
const previewRounds = 256

// Summary counts a preview's actions.
type Summary struct {
	Add     int `json:"add"`
	Remove  int `json:"remove"`
	Wait    int `json:"wait"`
	Trim    int `json:"trim"`
	Replace int `json:"replace"`
}

// Preview is what a plan comes to when it is followed to its end.
type Preview struct {
	// Actions are in the order they would be done in; a pod that is removed to be added
	// again is one Replace.
	Actions []Action
	Summary Summary
	// Holds and Pending are those of the first round, and what lacks data in the last: what a
	// user can do something about.
	Holds   []Hold
	Pending []Pending
}

// Foresee follows Diff round by round in a model where everything works at once.
func Foresee(desired schema.DesiredState, actual schema.ActualState, policy Policy, now time.Time) Preview {
	var p Preview
	world := newModel(actual, now)
	replaced := make(map[schema.Ref]bool)
	causes := make(causes)
	for round := range previewRounds {
		state := actual
		if round > 0 {
			state = world.state()
		}
		plan := Diff(desired, state, policy, world.now)
		if round == 0 {
			p.Holds, p.Pending = plan.Holds, plan.Pending
		}
		if plan.Empty() {
			p.lacking(plan.Pending)
			break
		}
		for _, a := range plan.Actions {
			world.apply(a)
			a = causes.explain(a)
			causes.note(a)
			p.take(a, replaced)
		}
	}
	return p
}

// lacking adds what waits for missing data in the end and did not from the beginning.
func (p *Preview) lacking(last []Pending) {
	for _, w := range last {
		if w.Missing && !slices.Contains(p.Pending, w) {
			p.Pending = append(p.Pending, w)
		}
	}
}

// take adds an action as users are shown it.
func (p *Preview) take(a Action, replaced map[schema.Ref]bool) {
	switch {
	case a.Kind == KindPod && a.Type == Remove && a.Replacing:
		a.Type = Replace
		replaced[a.Pod] = true
	case a.Kind == KindPod && a.Type == Add && replaced[a.Pod]:
		return
	}
	p.Actions = append(p.Actions, a)
	switch a.Type {
	case Add:
		p.Summary.Add++
	case Remove:
		p.Summary.Remove++
	case Wait:
		p.Summary.Wait++
	case Trim:
		p.Summary.Trim++
	case Replace:
		p.Summary.Replace++
	}
}
