package qemu

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// shareServerPatience is how long a server gets to end once its machine has.
const shareServerPatience = 2 * time.Second

// shareServer is what shares directories of the host; there is none here.
type shareServer struct{}

func startShares(context.Context, driver.Spec, string, logr.Logger) (*shareServer, *os.File, error) {
	return nil, nil, fmt.Errorf("share directories of the host under QEMU on macOS: %w", driver.ErrUnsupported)
}

func (s *shareServer) ended() <-chan struct{} { return nil }
func (s *shareServer) stop()                  {}
func (s *shareServer) complaint() error       { return nil }
