package runtime

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func TestBinds(t *testing.T) {
	slave, shared := agentpb.Mount_HOST_TO_CONTAINER, agentpb.Mount_BIDIRECTIONAL
	for _, test := range []struct {
		bind    bindMount
		options []string
		root    string
	}{
		{bindMount{}, []string{"rbind", "rprivate", "rw"}, ""},
		{bindMount{readOnly: true}, []string{"rbind", "rprivate", "ro", "rro"}, ""},
		{bindMount{readOnly: true, file: true}, []string{"rbind", "rprivate", "ro"}, ""},
		{bindMount{propagation: slave, readOnly: true}, []string{"rbind", "rslave", "ro", "rro"}, "rslave"},
		{bindMount{propagation: shared}, []string{"rbind", "rshared", "rw"}, "rshared"},
	} {
		if diff := cmp.Diff(test.options, ociBinds([]bindMount{test.bind})[0].Options); diff != "" {
			t.Errorf("%+v: -want +got:\n%s", test.bind, diff)
		}
		if got := rootPropagation([]bindMount{{}, test.bind}); got != test.root {
			t.Errorf("%+v: the root is %q", test.bind, got)
		}
	}
	if got := rootPropagation([]bindMount{{propagation: shared}, {propagation: slave}}); got != "rshared" {
		t.Errorf("of both the root is %q", got)
	}
}
