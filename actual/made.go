package actual

import (
	"reflect"
	"slices"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// madeFor finds machines by the pod they were made for. Of a pod that has one machine, as is
// usual, the list has one.
type madeFor map[schema.Ref][]*machine

func (f madeFor) add(m *machine) {
	if m.made != nil && !slices.Contains(f[m.made.Ref], m) {
		f[m.made.Ref] = append(f[m.made.Ref], m)
	}
}

func (f madeFor) remove(m *machine) {
	if m.made == nil {
		return
	}
	left := slices.DeleteFunc(f[m.made.Ref], func(x *machine) bool { return x == m })
	if len(left) == 0 {
		delete(f, m.made.Ref)
	} else {
		f[m.made.Ref] = left
	}
}

// share has a machine use the pod that it was just made for, or its parts, where its record says
// the same: there may be thousands. What the record leaves out, such as hidden values, is
// never the same.
func (m *machine) share(pod *schema.Pod) {
	own := *pod
	own.Origin = schema.Origin{}
	record := *m.made
	record.Origin = schema.Origin{}
	switch {
	case !reflect.DeepEqual(own, record):
	case pod.Origin == m.made.Origin:
		m.made = pod
	default:
		own.Origin = m.made.Origin
		m.made = &own
	}
}

// know takes what the driver knows of a machine; it says whether that is news. The caller
// holds o.mu.
func (o *Observer) know(m *machine, info driver.Info) bool {
	o.made.remove(m)
	was := m.made
	news := m.know(info)
	if m.made != was {
		o.shown, m.view = nil, nil
	}
	if o.machines[m.handle.ID()] == m {
		o.made.add(m)
	}
	return news
}
