package schema_test

import (
	"encoding/json"
	"errors"
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

func TestFinalEnvironment(t *testing.T) {
	secret := &schema.ValueSource{Secret: "s", Key: "k"}
	got, err := schema.FinalEnvironment([]schema.EnvVar{
		{Name: "A", Value: "$(B)"}, // not known yet
		{Name: "B", Value: "1"},
		{Name: "C", Value: "$(A)$(B)$$(B)"},
		{Name: "B", Value: "2$(B)"}, // the last one counts
		{Name: "E"},
		{Name: "S", From: secret, Hidden: schema.Hide("$(B)x")}, // is not expanded
		{Name: "M", From: &schema.ValueSource{ConfigMap: "c", Key: "k"}, Value: "$(B)$$"},
		{Name: "IP", From: &schema.ValueSource{Field: "status.podIP"}},
		{Name: "URL", Value: "$(S)@$(IP)"},
		{Name: "LATER", Value: "$(URL)"},
		{Name: "S", Value: "plain"}, // as others saw it before, it stays hidden
	}, func(field string) (string, bool) { return "<" + field + ">", true })
	if err != nil {
		t.Fatal(err)
	}
	want := []schema.EnvVar{
		{Name: "A", Value: "$(B)"},
		{Name: "B", Value: "21"},
		{Name: "C", Value: "$(B)1$(B)"},
		{Name: "E"},
		{Name: "S", Value: "plain"},
		{Name: "M", Value: "$(B)$$"},
		{Name: "IP", Value: "<status.podIP>"},
		{Name: "URL", Hidden: schema.Hide("$(B)x@<status.podIP>")},
		{Name: "LATER", Hidden: schema.Hide("$(B)x@<status.podIP>")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestFinalEnvironmentIsNotKnown(t *testing.T) {
	var remembered schema.Hidden
	if err := json.Unmarshal([]byte(`"sha256:00"`), &remembered); err != nil {
		t.Fatal(err)
	}
	unknown := func(string) (string, bool) { return "", false }
	for name, tt := range map[string]struct {
		env     schema.EnvVar
		runtime func(string) (string, bool)
	}{
		"only the digest":   {schema.EnvVar{Name: "A", From: &schema.ValueSource{Secret: "s", Key: "k"}, Hidden: remembered}, unknown},
		"an unknown field":  {schema.EnvVar{Name: "A", From: &schema.ValueSource{Field: "status.podIP"}}, unknown},
		"no machine to ask": {schema.EnvVar{Name: "A", From: &schema.ValueSource{Field: "status.podIP"}}, nil},
	} {
		if _, err := schema.FinalEnvironment([]schema.EnvVar{tt.env}, tt.runtime); !errors.Is(err, schema.ErrUnknownValue) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
