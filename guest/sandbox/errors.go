package sandbox

import (
	"errors"
	"fmt"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
)

// errState: the object is not in the state that the call needs.
var errState = errors.New("not now")

// invalid says what of a request is not well formed.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", agent.ErrInvalid, fmt.Sprintf(format, args...))
}
