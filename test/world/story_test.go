package world

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// maxStory bounds the lines of a story that are kept, and maxViolations what is found wrong.
const (
	maxStory      = 4000
	maxViolations = 5
)

// story is what happened in one sequence, and what was wrong about it.
type story struct {
	began time.Time

	mu         sync.Mutex
	lines      []string
	left       int // lines that were left out
	violations []string
}

func (s *story) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lines) == maxStory {
		s.left++
		return
	}
	s.lines = append(s.lines, fmt.Sprintf("%12s  ", time.Since(s.began).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// The properties, as what is wrong when one is violated.
const (
	twoMachines  = "two live generations of a pod"
	wrongRemoval = "a removal that nothing allows"
	twice        = "a container was started twice for one generation"
	noReason     = "a container that ran was restarted for no reason"
	hotLoop      = "a failure did not back off"
	tooMany      = "too many actions in a minute"
	lost         = "not converged in time after faults stopped"
	restless     = "actions after convergence"
	broken       = "the test itself failed"
)

// wrong notes a violated property.
func (s *story) wrong(property, format string, args ...any) {
	s.tell("VIOLATION: %s: %s", property, fmt.Sprintf(format, args...))
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.violations) < maxViolations {
		s.violations = append(s.violations, property)
	}
}

// verdict is the property that was violated first, "" when nothing was.
func (s *story) verdict() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.violations) == 0 {
		return ""
	}
	return s.violations[0]
}

func (s *story) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := strings.Join(s.lines, "\n")
	if s.left > 0 {
		text += fmt.Sprintf("\n(and %d lines more)", s.left)
	}
	return text
}
