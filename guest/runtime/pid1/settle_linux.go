package pid1

import (
	"os"
	"slices"
	"strings"
)

// settleWord on the kernel's command line asks for a machine that is complete before it
// answers, because it is to be copied.
const settleWord = "firkin.settle"

// Settles tells whether the machine has to be complete before it answers.
func Settles() bool {
	words, err := os.ReadFile("/proc/cmdline")
	return err == nil && slices.Contains(strings.Fields(string(words)), settleWord)
}
