package schema_test

import (
	"strings"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestBrokenSecretsDoNotShow: whatever is wrong with a Secret, no problem repeats a value.
func TestBrokenSecretsDoNotShow(t *testing.T) {
	for _, value := range []string{
		"!!int canary", "!!float canary", "!!binary canary!", "!!bool canary", "!!null canary", "!!timestamp canary", "!canary x",
		`"canary`, `'canary`, "canary: canary", "[canary", "{canary", "\"\\z canary\"", "|x canary", "@canary", "`canary", "%canary",
		"!!set {canary}", "!!map canary", "!!seq canary", "!!merge canary", "\"canary\\u0000\"", "canary\n  canary\n canary: x", "\tcanary", "*canary", "&canary", "<<: canary", "!!int \"a`canary`b\"",
	} {
		text := "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  a: " + value + "\n  b: c\n"
		for _, p := range schema.Parse("f", []byte(text), schema.ParseOptions{}).Problems {
			if strings.Contains(p.Message, "canary") {
				t.Errorf("%q: %s: %s", value, p.Path, p.Message)
			}
		}
	}
}
