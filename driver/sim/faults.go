package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// Operations lists what faults can be set on: the driver's Create, Start (of a
// machine), Info, Link, AttachDisk and DetachDisk, and the methods of agent.Runtime
// (whose Start is StartContainer).
func Operations() []string {
	return []string{
		"Create", "Start", "Info", "Link", "AttachDisk", "DetachDisk",
		"OpenStore", "LoadState", "SaveState", "StoreUsage", "Trim", "CloseStore",
		"CreateEmptyDir", "RemoveEmptyDir", "EmptyDirUsage", "AddVolume", "RemoveVolume", "CreateFile", "OpenFile",
		"Images", "CreateImage", "KeepImages",
		"Prepare", "StartContainer", "Exec", "TerminationMessage", "Clean", "CleanAll", "SetTime", "PowerOff",
	}
}

// maxFault bounds the text of faults.
const maxFault = 4 << 10

// action is what happens when a fault is met.
type action int

const (
	off action = iota
	fail
	failTransient
	delay
	hang
	die
)

func actions() map[string]action {
	return map[string]action{"off": off, "error": fail, "transient": failTransient, "delay": delay, "hang": hang, "panic": die}
}

// term is an action for a number of hits; 0 is for ever.
type term struct {
	hits   int
	action action
	text   string
	wait   time.Duration
}

// Faults are what goes wrong, by operation. They are safe for concurrent use; nil
// means that nothing does.
type Faults struct {
	mu    sync.Mutex
	terms map[string][]term
}

var (
	// errDie: the machine is to die.
	errDie = errors.New("machine panicked")
	// errEnded: it has.
	errEnded = errors.New("machine has ended")
)

// ParseFaults reads faults like
//
//	Prepare=1*off->1*error(no space); Start=delay(100ms)
//
// for each operation a chain of terms, each for a number of hits or (the last) for
// ever: off, error(TEXT), transient(TEXT) (an error that is worth another try),
// delay(DURATION), hang (until the caller gives up), panic (the machine dies). After
// a chain has run out nothing happens any more.
func ParseFaults(text string) (*Faults, error) {
	if len(text) > maxFault {
		return nil, fmt.Errorf("faults: longer than %d bytes", maxFault)
	}
	f := &Faults{terms: make(map[string][]term)}
	for _, one := range splitOutside(text, ";") {
		if strings.TrimSpace(one) == "" {
			continue
		}
		op, chain, ok := strings.Cut(one, "=")
		op = strings.TrimSpace(op)
		if !ok {
			return nil, fmt.Errorf("faults: %q is not OPERATION=TERMS", one)
		}
		if err := f.Set(op, chain); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Set replaces the terms of one operation; "" clears them.
func (f *Faults) Set(op, chain string) error {
	if !slices.Contains(Operations(), op) {
		return fmt.Errorf("faults: no operation %q; there are %s", op, strings.Join(Operations(), ", "))
	}
	var terms []term
	if strings.TrimSpace(chain) != "" {
		for _, one := range splitOutside(chain, "->") {
			t, err := parseTerm(strings.TrimSpace(one))
			if err != nil {
				return fmt.Errorf("faults: %s: %w", op, err)
			}
			terms = append(terms, t)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.terms[op] = terms
	return nil
}

func parseTerm(text string) (term, error) {
	var t term
	head, _, _ := strings.Cut(text, "(")
	if count, rest, ok := strings.Cut(head, "*"); ok {
		n, err := strconv.Atoi(strings.TrimSpace(count))
		if err != nil || n < 1 {
			return t, fmt.Errorf("count of %q is not a positive number", text)
		}
		t.hits = n
		text = strings.TrimSpace(text[len(count)+1:])
		head = strings.TrimSpace(rest)
	}
	known, ok := actions()[strings.TrimSpace(head)]
	if !ok {
		return t, fmt.Errorf("no action %q; there are %s", head, strings.Join(slices.Sorted(maps.Keys(actions())), ", "))
	}
	t.action = known
	if _, arg, ok := strings.Cut(text, "("); ok {
		if t.text, ok = strings.CutSuffix(arg, ")"); !ok {
			return t, fmt.Errorf("%q has no closing parenthesis", text)
		}
	}
	switch t.action {
	case delay:
		d, err := time.ParseDuration(t.text)
		if err != nil || d < 0 {
			return t, fmt.Errorf("%q is not a duration", t.text)
		}
		t.wait = d
	case fail, failTransient, die:
		if t.text == "" {
			t.text = "injected"
		}
	case off, hang:
		if t.text != "" {
			return t, fmt.Errorf("%q takes no argument", head)
		}
	}
	return t, nil
}

// splitOutside splits at sep where it is not in parentheses.
func splitOutside(s, sep string) []string {
	var parts []string
	depth, from := 0, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '(':
			depth++
		case s[i] == ')' && depth > 0:
			depth--
		case depth == 0 && strings.HasPrefix(s[i:], sep):
			parts = append(parts, s[from:i])
			from = i + len(sep)
			i = from - 1
		}
	}
	return append(parts, s[from:])
}

// next takes the operation's next hit.
func (f *Faults) next(op string) term {
	if f == nil {
		return term{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	chain := f.terms[op]
	if len(chain) == 0 {
		return term{}
	}
	t := chain[0]
	if t.hits > 0 {
		if chain[0].hits--; chain[0].hits == 0 {
			f.terms[op] = chain[1:]
		}
	}
	return t
}

// meet does what the operation's next fault says, until the end of ctx. An error that
// is errDie means that the machine is to die.
func (f *Faults) meet(ctx context.Context, op string) error {
	return f.meetUntil(ctx, nil, op)
}

// meetUntil is meet that also ends when gone is closed: with the machine.
func (f *Faults) meetUntil(ctx context.Context, gone <-chan struct{}, op string) error {
	switch t := f.next(op); t.action {
	case fail:
		return errors.New(t.text)
	case failTransient:
		return fmt.Errorf("%s: %w", t.text, driver.ErrTransient)
	case delay:
		timer := time.NewTimer(t.wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-gone:
			return errEnded
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	case hang:
		select {
		case <-gone:
			return errEnded
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	case die:
		return fmt.Errorf("%w: %s", errDie, t.text)
	}
	return nil
}
