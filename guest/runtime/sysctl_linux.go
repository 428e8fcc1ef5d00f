package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// setSysctls sets the pod's sysctls, in order. They are the machine's: all containers have
// them.
func setSysctls(list []*agentpb.Sysctl) error {
	for _, s := range list {
		if err := setSysctl(s.GetName(), s.GetValue()); err != nil {
			return fmt.Errorf("set sysctl %s: %w", s.GetName(), err)
		}
	}
	return nil
}

func setSysctl(name, value string) error {
	path, err := sysctlPath(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the kernel has no such sysctl", agent.ErrInvalid)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", agent.ErrInvalid, errors.Unwrap(err))
	}
	_, err = f.WriteString(value)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%w: value %q: %w", agent.ErrInvalid, value, err)
	}
	return nil
}
