package template

import (
	"context"
	"time"

	"github.com/go-logr/logr"
)

const (
	// makeLimit bounds the boot of a prototype and the copying of its memory.
	makeLimit = 2 * time.Minute
	// makeAfter is how long a machine without a template runs before one is made, so that
	// what is being started now is not slowed down.
	makeAfter = 5 * time.Second
)

// Later has the template made that a running machine could have been copied from, unless the
// machine ends before; it returns at once. run says whether it made one.
func Later(ended <-chan struct{}, log logr.Logger, run func(context.Context) (made bool, err error)) {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), makeAfter+makeLimit)
		defer cancel()
		go func() {
			select {
			case <-ended:
				cancel()
			case <-ctx.Done():
			}
		}()
		select {
		case <-time.After(makeAfter):
		case <-ctx.Done():
			return
		}
		began := time.Now()
		switch made, err := run(ctx); {
		case ctx.Err() != nil:
		case err != nil:
			log.Error(err, "no template was made; machines like this one boot")
		case made:
			log.Info("template made", "took", time.Since(began).String())
		}
	}()
}
