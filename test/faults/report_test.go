//go:build linux

package faults

import (
	"fmt"
	"sync"
	"testing"
)

// verdicts are the figures of the scenarios, printed in one table at the end.
var verdicts struct {
	mu    sync.Mutex
	lines []string
}

// figure prints a scenario's figure against its criterion when the test ends. row is its
// row in the list of faults; format and args are made into words then.
func figure(t *testing.T, row string, words func() string) {
	t.Helper()
	t.Cleanup(func() {
		word, text := "PASS", "not run: see FIRKIN_FAULTS and FIRKIN_SOAK"
		if !t.Skipped() {
			text = words()
		} else {
			word = "SKIP"
		}
		if t.Failed() {
			word = "FAIL"
		}
		line := fmt.Sprintf("%s  %-4s %-28s %s", word, row, t.Name(), text)
		t.Log(line)
		verdicts.mu.Lock()
		defer verdicts.mu.Unlock()
		verdicts.lines = append(verdicts.lines, line)
	})
}

func report() {
	verdicts.mu.Lock()
	defer verdicts.mu.Unlock()
	for _, line := range verdicts.lines {
		fmt.Println(line)
	}
}
