package desired

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestRefusedPodsKeepWhatTheyWere: a manifest that is refused for its tag, or for its mark, costs nothing that was good.
func TestRefusedPodsKeepWhatTheyWere(t *testing.T) {
	const pinned = "i@sha256:9ae97d36d26566ff84e8893c64a6dc4fe8ca6d1144bf5b87b2b85a32def253c7"
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	write(t, a, pod("a", pinned))
	write(t, b, pod("b", pinned))
	w := watchWith(t, Options{
		Settle: settle, Reread: time.Second, RequireDigest: true, NoUntrusted: func() string { return "VMs are emulated" }, Log: logr.Discard(),
	}, dir)
	w.until("pods by digest", have("a="+pinned, "b="+pinned))

	write(t, a, pod("a", "i:2"))
	marked := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: b\n  annotations: {vm.firkin.dev/untrusted: \"true\"}\nspec:\n  containers:\n  - {name: c, image: \"" + pinned + "\"}\n"
	write(t, b, marked)
	state := w.until("refusals", held("a", "b"))
	if !have("a="+pinned, "b="+pinned)(state) {
		t.Errorf("the last good versions are gone: %s", show(state))
	}
	rules := make(map[schema.Rule]string)
	for _, p := range state.Problems {
		rules[p.Rule] = filepath.Base(p.File)
	}
	if len(rules) != 2 || rules[schema.RuleImageByTag] != "a.yaml" || rules[schema.RuleUntrusted] != "b.yaml" {
		t.Errorf("problems: %+v", state.Problems)
	}

	must(t, os.Remove(a))
	write(t, b, pod("b", pinned))
	w.until("a file that went", all(have("b="+pinned), held()))
}
