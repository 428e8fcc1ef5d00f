package reconcile

import (
	"fmt"
	"strconv"
	"strings"
)

// Policy is what the user decided about plans.
type Policy struct {
	// AllowEmpty lets a source that turned empty remove all of its pods.
	AllowEmpty bool
	// MaxRemovals bounds how many pods of one source a pass may remove.
	MaxRemovals Budget
	// NoTrim leaves out trims.
	NoTrim bool
}

// Budget is a number of pods: a count, or a share of a source's pods rounded down. The
// zero Budget is half of them.
type Budget struct {
	unit budgetUnit
	n    int
}

type budgetUnit int

const (
	unitDefault budgetUnit = iota
	unitPods
	unitPercent
)

// defaultPercent is the share that a zero Budget stands for.
const defaultPercent = 50

// ParseBudget reads "N" or "P%".
func ParseBudget(s string) (Budget, error) {
	number, isPercent := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || isPercent && n > 100 {
		return Budget{}, fmt.Errorf("%q is neither a number of pods nor a percentage from 0%% to 100%%", s)
	}
	if isPercent {
		return Budget{unitPercent, n}, nil
	}
	return Budget{unitPods, n}, nil
}

// String is what ParseBudget reads.
func (b Budget) String() string {
	switch b.unit {
	case unitPods:
		return strconv.Itoa(b.n)
	case unitPercent:
		return strconv.Itoa(b.n) + "%"
	default:
		return strconv.Itoa(defaultPercent) + "%"
	}
}

// allows tells whether so many removals among so many pods are within the budget. One
// is always allowed, unless it is of the last pod.
func (b Budget) allows(removals, pods int) bool {
	if removals == 1 && pods > 1 {
		return true
	}
	switch b.unit {
	case unitPods:
		return removals <= b.n
	case unitPercent:
		return removals <= pods*b.n/100
	default:
		return removals <= pods*defaultPercent/100
	}
}
