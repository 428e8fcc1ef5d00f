package reconcile

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestSlotsAreFilledBetweenLooks: a pod that waits for a slot gets it as soon as it is free.
func TestSlotsAreFilledBetweenLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var boxes []box
		for i := range 20 {
			boxes = append(boxes, box{name: fmt.Sprintf("p%02d", i), containers: []string{"c=x"}})
		}
		m := newMachines(nil)
		l := NewLoop(&manifests{state: pods(boxes...)}, m, Options{Parallel: 2, Log: logr.Discard()})
		start := time.Now()
		if _, err := l.Converge(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		for _, b := range boxes {
			if at := m.startOf("add pod default/" + b.name); at.Sub(start) >= lookRest {
				t.Errorf("pod %s was begun after %s", b.name, at.Sub(start))
			}
		}
	})
}

// TestPodsTakeTurns: what comes after the pod that was begun last comes first.
func TestPodsTakeTurns(t *testing.T) {
	act := func(name string) Action { return Action{Pod: schema.Ref{Namespace: "default", Name: name}} }
	l := NewLoop(nil, nil, Options{})
	l.begun = act("b").Pod
	var got []string
	for _, list := range l.inTurn([]Action{act("a"), act("b"), act("b"), act("c"), act("d")}) {
		got = append(got, fmt.Sprint(list[0].Pod.Name, len(list)))
	}
	if want := "[c1 d1 a1 b2]"; fmt.Sprint(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}
