package reconcile

import (
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// RestartDue returns when a container that ended may be started again at the earliest,
// for showing it; whether it is started again at all is not said.
func RestartDue(s *schema.ContainerStatus) time.Time { return restartAt(s) }

// RetryDue returns when a failed action may be tried again at the earliest.
func RetryDue(f schema.Failure) time.Time { return retryAt(f) }
