package schema_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestExpand takes its cases from Kubernetes' own tests of $(VAR).
func TestExpand(t *testing.T) {
	vars := map[string]string{"VAR_A": "A", "VAR_B": "B", "VAR_REF": "$(VAR_A)", "VAR_EMPTY": ""}
	for in, want := range map[string]string{
		"":                          "",
		"$(VAR_A)":                  "A",
		"___$(VAR_B)___":            "___B___",
		"$(VAR_A)-$(VAR_B)":         "A-B",
		"f$(VAR_EMPTY)f":            "ff",
		"$(VAR_REF)":                "$(VAR_A)",
		"$(UNKNOWN)":                "$(UNKNOWN)",
		"$$(VAR_A)":                 "$(VAR_A)",
		"$$$(VAR_A)":                "$A",
		"$$$$(VAR_A)":               "$$(VAR_A)",
		"$VAR_A":                    "$VAR_A",
		"${VAR_A}":                  "${VAR_A}",
		"$(VAR_A":                   "$(VAR_A",
		"$(VAR_A$(VAR_B)":           "$(VAR_A$(VAR_B)",
		"$":                         "$",
		"$$":                        "$",
		"$()":                       "$()",
		"foo\\$(VAR_A)":             "foo\\A",
		"$(VAR_A))":                 "A)",
		"--url=$(VAR_A):$(VAR_B)/$": "--url=A:B/$",
	} {
		if got := schema.Expand(in, vars); got != want {
			t.Errorf("Expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	got := schema.Environment([]schema.EnvVar{
		{Name: "A", Value: "$(B)"}, // not known yet
		{Name: "B", Value: "1"},
		{Name: "C", Value: "$(A)$(B)$$(B)"},
		{Name: "B", Value: "2$(B)"}, // the last one counts
		{Name: "E"},
	})
	want := []schema.EnvVar{{Name: "A", Value: "$(B)"}, {Name: "B", Value: "21"}, {Name: "C", Value: "$(B)1$(B)"}, {Name: "E"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
