package reconcile

import (
	"testing"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestRestartAt(t *testing.T) {
	end := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	short := func(reason string) schema.Run {
		return schema.Run{Digest: "d", StartedAt: end.Add(-time.Minute), FinishedAt: end, Reason: reason}
	}
	long := schema.Run{Digest: "d", StartedAt: end.Add(-time.Hour), FinishedAt: end}
	failed, died := short("Error"), short(schema.ReasonMachineDied)
	for name, c := range map[string]struct {
		reason string
		runs   []schema.Run
		want   time.Duration
	}{
		"no run":                           {"Error", nil, 0},
		"one short run":                    {"Error", []schema.Run{failed}, 10 * time.Second},
		"three short runs":                 {"Error", []schema.Run{failed, failed, failed}, 40 * time.Second},
		"a long run":                       {"Error", []schema.Run{failed, long}, 0},
		"short runs after a long one":      {"Error", []schema.Run{failed, long, failed}, 10 * time.Second},
		"its machine died":                 {schema.ReasonMachineDied, []schema.Run{failed, died}, 0},
		"its machine died over and over":   {schema.ReasonMachineDied, []schema.Run{died, died, died}, 0},
		"it failed after machines' deaths": {"Error", []schema.Run{died, died, failed}, 10 * time.Second},
		"machines died between failures":   {"Error", []schema.Run{failed, died, failed}, 20 * time.Second},
	} {
		s := schema.ContainerStatus{Digest: "d", FinishedAt: end, Reason: c.reason, Runs: c.runs}
		if got := restartAt(&s).Sub(end); got != c.want {
			t.Errorf("%s: after %s, want %s", name, got, c.want)
		}
	}
}
