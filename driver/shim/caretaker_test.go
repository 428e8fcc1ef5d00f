package shim_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// TestWhatIsDeletedComesBack takes away what a live machine is found by: another process
// finds it again, held by the same shim.
func TestWhatIsDeletedComesBack(t *testing.T) {
	for _, gone := range []string{"shim.sock", "lock", "machine.json", "", ".."} {
		t.Run("machine/"+gone, func(t *testing.T) {
			dir := shortDir(t)
			first := driverIn(t, dir)
			m := create(t, first)
			before := info(t, m)
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(dir, m.ID(), gone)); err != nil {
				t.Fatal(err)
			}
			second := driverIn(t, dir)
			eventually(t, func() bool {
				all, err := second.Machines(limit(t))
				if len(all) == 0 && err == nil {
					t.Error("a live machine was taken for absent")
				}
				if err != nil || len(all) != 1 {
					return false
				}
				i, err := all[0].Info(limit(t))
				return err == nil && i.State == driver.StateRunning && i.HolderPID == before.HolderPID && i.Spec.Name == before.Spec.Name
			})
			eventually(t, func() bool {
				_, err := os.Stat(filepath.Join(dir, m.ID(), "machine.json"))
				return err == nil
			})
		})
	}
}
