package sim_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/drivertest"
	"github.com/firkin-dev/firkin-reconcile/driver/sim"
)

func TestConformanceSim(t *testing.T) {
	conformance(t, sim.Options{Log: logr.Discard()}, nil)
}

// TestConformanceSimNoRuntimeDisks has the template sent into the machines' stores.
func TestConformanceSimNoRuntimeDisks(t *testing.T) {
	template := driver.Disk{ID: "template", Path: filepath.Join(t.TempDir(), "template"), ReadOnly: true}
	if err := os.WriteFile(template.Path, bytes.Repeat([]byte("template"), 1<<20), 0o444); err != nil {
		t.Fatal(err)
	}
	conformance(t, sim.Options{NoRuntimeDisks: true, Log: logr.Discard()}, &template)
}

func conformance(t *testing.T, opt sim.Options, template *driver.Disk) {
	t.Helper()
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		w := sim.NewWorld(opt)
		d := sim.NewDriver(w)
		t.Cleanup(func() { closeAll(t, w, d) })
		return drivertest.Harness{
			Driver:   d,
			Template: template,
			Reopen:   func(*testing.T) driver.Driver { return sim.NewDriver(w) },
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
