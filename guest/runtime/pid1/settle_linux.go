package pid1

import (
	"os"
	"slices"
	"strings"
)

// settleWord on the kernel's command line asks for a machine that is complete before it
// answers, because it is to be copied.
const settleWord = "firkin.settle"

// emulatedWord says that the machine's processor is emulated.
const emulatedWord = "firkin.emulated"

// Settles tells whether the machine has to be complete before it answers.
func Settles() bool { return told(settleWord) }

// Emulated tells whether the processor is emulated: code then is slow the first time that
// it runs at an address.
func Emulated() bool { return told(emulatedWord) }

// told tells whether the word is on the kernel's command line.
func told(word string) bool {
	words, err := os.ReadFile("/proc/cmdline")
	return err == nil && slices.Contains(strings.Fields(string(words)), word)
}
