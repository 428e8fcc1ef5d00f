package qemu

import (
	"slices"
	"testing"
)

func TestFindMachine(t *testing.T) {
	const list = `
    1 /sbin/launchd
  311 /opt/homebrew/bin/qemu-system-aarch64 -name firkin-a -uuid ` + testID + ` -nodefaults
  312 /opt/homebrew/bin/qemu-system-aarch64 -name firkin-b -uuid another -nodefaults
  313 vi /notes/qemu-system-aarch64 -uuid ` + testID + `
  314 qemu-system-x86_64 -uuid ` + testID + `
  315 qemu-system-x86_64 -uuid
    0 qemu-system-x86_64 -uuid ` + testID + `
  -1 qemu-system-x86_64 -uuid ` + testID + `
`
	if got := findMachine(list, testID); !slices.Equal(got, []int{311, 314}) {
		t.Errorf("found %v", got)
	}
	if got := findMachine("", testID); got != nil {
		t.Errorf("found %v in nothing", got)
	}
}

func FuzzFindMachine(f *testing.F) {
	f.Add("1 qemu-system-x86_64 -uuid " + testID)
	f.Fuzz(func(t *testing.T, list string) {
		for _, pid := range findMachine(list, testID) {
			if pid <= 0 {
				t.Errorf("process %d", pid) // 0 and -1 are many at once
			}
		}
	})
}
