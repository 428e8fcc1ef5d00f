package qemu

import (
	"os"
	"testing"
)

func TestKillOrphansLeavesOthersAlone(t *testing.T) {
	// Our own command line does not carry the machine's -uuid.
	if err := KillOrphans(testID); err != nil {
		t.Fatal(err)
	}
	if isMachine("/proc/"+itoa(os.Getpid()), testID) {
		t.Error("we are taken for a machine")
	}
}
