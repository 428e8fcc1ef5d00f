package main

import (
	"testing"

	"github.com/firkin-dev/firkin-reconcile/journal"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestHeldBack(t *testing.T) {
	p := &schema.PodStatus{Ref: schema.Ref{Namespace: "default", Name: "web"}, Spec: &schema.Pod{Origin: schema.Origin{File: "/m/web.yaml"}}}
	held := func(text string) journal.Event {
		return journal.Event{Reason: reasonHeld, Object: objectManifests, Message: text}
	}
	released := func(text string) journal.Event {
		return journal.Event{Reason: reasonReleased, Object: objectManifests, Message: text}
	}
	ours, theirs := held("/m/web.yaml:3:1: error: no"), held("pod default/other stays as it is")
	for name, test := range map[string]struct {
		events []journal.Event
		want   int
	}{
		"nothing said":   {nil, 0},
		"by its file":    {[]journal.Event{ours, theirs}, 1},
		"by its name":    {[]journal.Event{held("pod default/web stays as it is")}, 1},
		"released alone": {[]journal.Event{ours, theirs, released(releasedPrefix + ours.Message)}, 0},
		"other released": {[]journal.Event{ours, theirs, released(releasedPrefix + theirs.Message)}, 1},
		"all released":   {[]journal.Event{ours, released(releasedAll)}, 0},
		"held again":     {[]journal.Event{ours, released(releasedAll), ours}, 1},
		"other events":   {[]journal.Event{ours, {Reason: "Started", Object: "container/web"}}, 1},
	} {
		if got := heldBack(test.events, p); len(got) != test.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
