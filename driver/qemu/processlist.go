package qemu

import (
	"path"
	"strconv"
	"strings"
)

// findMachine returns the processes that are a QEMU with the machine's UUID, in a list of pids
// and command lines ("ps -axww -o pid=,command=") as there is where /proc is not.
func findMachine(list, machineID string) []int {
	var found []int
	for line := range strings.Lines(list) {
		words := strings.Fields(line)
		if len(words) < 2 || !strings.HasPrefix(path.Base(words[1]), "qemu-system-") {
			continue
		}
		pid, err := strconv.Atoi(words[0])
		if err == nil && pid > 0 && argument(strings.Join(words[1:], "\x00"), "-uuid") == machineID {
			found = append(found, pid)
		}
	}
	return found
}
