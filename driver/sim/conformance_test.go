package sim_test

import (
	"testing"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/drivertest"
	"github.com/firkin-dev/firkin-reconcile/driver/sim"
)

func TestConformanceSim(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		w := sim.NewWorld(sim.Options{Log: logr.Discard()})
		d := sim.NewDriver(w)
		t.Cleanup(func() { closeAll(t, w, d) })
		return drivertest.Harness{
			Driver: d,
			Reopen: func(*testing.T) driver.Driver { return sim.NewDriver(w) },
			BreakGuest: func(_ *testing.T, spec *driver.Spec) {
				spec.Annotations[sim.FaultsAnnotation] = "Create=error(broken)"
			},
			Kill: func(t *testing.T, m driver.Machine) {
				if err := w.Kill(m.ID()); err != nil {
					t.Fatal(err)
				}
			},
			Census: func(t *testing.T, _ string) []string {
				all, err := sim.NewDriver(w).Machines(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				ids := []string{}
				for _, m := range all {
					ids = append(ids, m.ID())
				}
				return ids
			},
		}
	})
}
