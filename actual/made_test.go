package actual

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestStatusesAreMadeWhereTheyChanged: what changed shows, in a list of its own; the rest is as it was,
// and all of it is what a list made from nothing says.
func TestStatusesAreMadeWhereTheyChanged(t *testing.T) {
	o := New(nil, nil, Options{Log: logr.Discard()})
	o.machines = make(map[string]*machine)
	info := func(name string, state driver.State) driver.Info {
		record, err := json.Marshal(&schema.Pod{Ref: schema.Ref{Namespace: "default", Name: name}})
		if err != nil {
			t.Fatal(err)
		}
		return driver.Info{State: state, Spec: driver.Spec{Annotations: map[string]string{annotationPod: string(record)}}}
	}
	for _, name := range []string{"a", "b", "c"} {
		m := newMachine(named("id-"+name), 1)
		o.machines["id-"+name] = m
		o.know(m, info(name, driver.StateRunning))
	}
	first := o.statuses()
	if again := o.statuses(); len(first) != 3 || &again[0] != &first[0] {
		t.Error("the list was made anew though nothing changed")
	}
	o.know(o.machines["id-b"], info("b", driver.StateStopped))
	o.changed(o.machines["id-b"])
	second := o.statuses()
	switch {
	case first[1].Machine != schema.MachineUnknown || second[1].Machine != schema.MachineDead:
		t.Errorf("got %s, then %s", first[1].Machine, second[1].Machine)
	case second[1] == first[1] || second[0] != first[0]:
		t.Error("pointers do not tell what changed")
	}
	o.shown = nil
	if whole := o.statuses(); !reflect.DeepEqual(whole, second) {
		t.Errorf("got %v, want %v", second, whole)
	}
	// A machine takes another's pod: neither is to be touched.
	o.know(o.machines["id-c"], info("a", driver.StateRunning))
	if got := o.statuses(); len(got) != 2 || got[0].Machine != schema.MachineUnknown || len(o.find(got[0].Ref)) != 2 {
		t.Errorf("got %v", got)
	}
	o.forget(o.machines["id-c"])
	if got := o.statuses(); len(got) != 2 || got[0].UID != "id-a" || len(o.find(got[0].Ref)) != 1 {
		t.Errorf("got %v", got)
	}
}

// TestPartsOfAPodAreShared: a machine uses the pod that it was made for only where its record says
// the same.
func TestPartsOfAPodAreShared(t *testing.T) {
	pod := &schema.Pod{Ref: schema.Ref{Namespace: "default", Name: "a"}, Containers: []schema.Container{{Name: "c"}}}
	for _, same := range []bool{true, false} {
		made := *pod
		made.Containers = []schema.Container{{Name: "c"}}
		if !same {
			made.Containers[0].Image = "other"
		}
		m := &machine{made: &made}
		m.share(pod)
		if shared := &m.made.Containers[0] == &pod.Containers[0]; shared != same {
			t.Errorf("same %t, shared %t", same, shared)
		}
	}
}
