package template

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/testr"
)

func TestLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		var begun, cut atomic.Bool
		Later(ended, testr.New(t), func(ctx context.Context) (bool, error) {
			begun.Store(true)
			<-ctx.Done() // the machine's end
			cut.Store(true)
			return false, ctx.Err()
		})
		time.Sleep(makeAfter - time.Second)
		synctest.Wait()
		if begun.Load() {
			t.Error("made while the machine starts")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !begun.Load() || cut.Load() {
			t.Errorf("begun: %t, cut short: %t", begun.Load(), cut.Load())
		}
		close(ended)
		synctest.Wait()
		if !cut.Load() {
			t.Error("what is made outlives its machine")
		}
		Later(ended, testr.New(t), func(context.Context) (bool, error) {
			t.Error("made for a machine that has ended")
			return false, nil
		})
		time.Sleep(2 * makeAfter)
	})
}
