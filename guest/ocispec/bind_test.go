package ocispec

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func TestBinds(t *testing.T) {
	slave, shared := agentpb.Mount_HOST_TO_CONTAINER, agentpb.Mount_BIDIRECTIONAL
	for _, test := range []struct {
		bind    Bind
		options []string
		root    string
	}{
		{Bind{}, []string{"rbind", "rprivate", "rw"}, ""},
		{Bind{ReadOnly: true}, []string{"rbind", "rprivate", "ro", "rro"}, ""},
		{Bind{ReadOnly: true, File: true}, []string{"rbind", "rprivate", "ro"}, ""},
		{Bind{Propagation: slave, ReadOnly: true}, []string{"rbind", "rslave", "ro", "rro"}, "rslave"},
		{Bind{Propagation: shared}, []string{"rbind", "rshared", "rw"}, "rshared"},
	} {
		if diff := cmp.Diff(test.options, ociBinds([]Bind{test.bind})[0].Options); diff != "" {
			t.Errorf("%+v: -want +got:\n%s", test.bind, diff)
		}
		if got := rootPropagation([]Bind{{}, test.bind}); got != test.root {
			t.Errorf("%+v: the root is %q", test.bind, got)
		}
	}
	if got := rootPropagation([]Bind{{Propagation: shared}, {Propagation: slave}}); got != "rshared" {
		t.Errorf("of both the root is %q", got)
	}
}
