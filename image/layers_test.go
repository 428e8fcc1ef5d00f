package image

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/image/internal/flatten"
)

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestBombs stops what unpacks to far more than it is, after a gigabyte and at the limit.
func TestBombs(t *testing.T) {
	for name, tc := range map[string]struct{ raw, limit, want int64 }{
		"ratio": {1 << 20, 64 << 30, ratioFrom},
		"limit": {1 << 30, 2 << 20, 2 << 20},
		"sound": {1 << 30, 1 << 40, 0},
	} {
		t.Run(name, func(t *testing.T) {
			raw := &meter{ctx: context.Background(), n: tc.raw}
			b := &bounded{r: endless{}, raw: raw, left: tc.limit, limit: tc.limit}
			n, err := io.CopyN(io.Discard, b, 2<<30)
			if tc.want == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			const buffer = 64 << 10
			if !errors.Is(err, flatten.ErrTooLarge) || n > tc.want+buffer {
				t.Errorf("stopped after %d bytes with %v, want about %d", n, err, tc.want)
			}
		})
	}
}
