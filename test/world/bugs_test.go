package world

import (
	"context"
	"flag"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/firkin-dev/firkin-reconcile/actual"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// bugs are planners broken on purpose: what the real one is told, or what becomes of what
// it says, is falsified in the way that a mistake in it would. Each is with the property
// that it violates.
func bugs() map[string]struct {
	sabotage
	violates []string
} {
	return map[string]struct {
		sabotage
		violates []string
	}{
		"a machine that does not answer counts as dead": {
			sabotage{actual: func(p *schema.PodStatus) {
				if p.Machine == schema.MachineUnknown {
					p.Machine = schema.MachineDead
				}
			}},
			[]string{wrongRemoval, noReason},
		},
		"a directory that cannot be read counts as empty": {
			sabotage{desired: func(s *schema.DesiredState) {
				if !s.Sources[0].Known {
					s.Pods, s.Held = nil, nil
					s.Sources[0].Known = true
				}
			}},
			[]string{wrongRemoval},
		},
		"a list of machines that cannot be had counts as empty": {
			sabotage{emptyList: true},
			[]string{twoMachines},
		},
		"failures are forgotten": {
			sabotage{actual: func(p *schema.PodStatus) { p.Failures = nil }},
			[]string{hotLoop, tooMany},
		},
		"containers that run are not seen": {
			sabotage{actual: func(p *schema.PodStatus) {
				if n := len(p.Containers); n > 1 {
					p.Containers = p.Containers[:n-1]
				}
			}},
			[]string{tooMany, restless, lost, wrongRemoval},
		},
		"a removal of a container does nothing": {
			sabotage{apply: func(_ context.Context, _ *actual.Observer, a reconcile.Action) bool {
				return a.Type == reconcile.Remove && a.Kind == reconcile.KindContainer
			}},
			[]string{tooMany, lost, hotLoop},
		},
		"what a container was made of is remembered for five minutes": {
			sabotage{actual: func(p *schema.PodStatus) {
				p.Containers = slices.Clone(p.Containers)
				for i := range p.Containers {
					c := &p.Containers[i]
					lasts := c.State == schema.ContainerRunning && !endsByItself(c.Spec) && p.Spec != nil && p.Spec.RestartPolicy == schema.RestartAlways
					if lasts && time.Since(c.StartedAt) > 5*time.Minute {
						c.Digest = "forgotten"
					}
				}
			}},
			[]string{noReason},
		},
	}
}

// TestBugsAreFound shows that the properties are worth something.
func TestBugsAreFound(t *testing.T) {
	for name, bug := range bugs() {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t, bug.sabotage)
			began := time.Now()
			property, tried := r.find(t, bugSequences, bug.violates)
			if property == "" {
				t.Fatalf("%d sequences violated none of %q", tried, bug.violates)
			}
			t.Logf("found after %d sequences, in %s: %s", tried, time.Since(began).Round(time.Millisecond), property)
		})
	}
}

// find runs sequences until one violates one of the properties, which it returns with how many
// it took. A bug may show as something else first.
func (r *runner) find(t *testing.T, most int, properties []string) (property string, tried int) {
	t.Helper()
	if err := flag.Set("rapid.checks", strconv.Itoa(most)); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		if property != "" {
			return
		}
		tried++
		r.quietly(t, rt)
		if slices.Contains(properties, r.failed) {
			property = r.failed
		}
		r.failed = ""
	})
	return property, tried
}
