package runtime

import (
	"errors"
	"strings"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func TestSetSysctls(t *testing.T) {
	if err := setSysctls(nil); err != nil {
		t.Error(err)
	}
	// None of these changes the system that runs the test.
	for _, name := range []string{"net.no_such_thing", "../../etc/passwd", "kernel.version", "kernel"} {
		err := setSysctls([]*agentpb.Sysctl{{Name: name, Value: "no number"}})
		if !errors.Is(err, agent.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
