package actual

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestInTurn: machines that are heard are asked some at a time, those that are not always.
func TestInTurn(t *testing.T) {
	o := New(nil, nil, Options{})
	var all []*machine
	for i := range 6 {
		m := newMachine(named(fmt.Sprint(i)), 0)
		m.silent, m.streaming = nil, true
		m.askedAt = time.Unix(int64(10-i), 0)
		all = append(all, m)
	}
	all[0].streaming = false
	all[1].silent = errors.New("no answer")
	ids := func(some int) (list []string) {
		for _, m := range o.inTurn(all, some) {
			list = append(list, m.handle.ID())
		}
		slices.Sort(list)
		return list
	}
	if got := ids(2); !slices.Equal(got, []string{"0", "1", "4", "5"}) {
		t.Errorf("asked %q, want those that are not heard and those asked longest ago", got)
	}
	if got := ids(10); len(got) != len(all) {
		t.Errorf("asked %q, want all", got)
	}
}
