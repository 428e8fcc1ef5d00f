package reconcile

import (
	"strings"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// object is what an action is about.
type object struct {
	pod  schema.Ref
	kind Kind
	name string
}

func (a Action) object() object { return object{a.Pod, a.Kind, a.Name} }

// causes remember why objects were removed to be added again. Diff cannot know: to it the
// add of the next round is one of an object that is not there.
type causes map[object]string

// note remembers the cause of an action that is done, or forgets it when it made the
// object whole or removed it for good.
func (c causes) note(a Action) {
	switch {
	case a.Type == Remove && a.Replacing:
		c[a.object()] = a.Cause
	case a.Type == Remove || a.Type == Add:
		delete(c, a.object())
	}
}

// explain returns an add of a replaced object with the change as its cause.
func (c causes) explain(a Action) Action {
	cause, ok := c[a.object()]
	if !ok || a.Type != Add {
		return a
	}
	for _, missing := range []string{causeMissing, causeNone} {
		if rest, found := strings.CutPrefix(a.Cause, missing); found {
			a.Cause = "replaced: " + cause + rest
		}
	}
	return a
}
