package image_test

import (
	"context"
	"os"
	"os/exec"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/image/imagetest"
)

// TestFullDisk has a disk that holds the spool and not the template, and one that holds
// neither.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	ref := imagetest.Layout(t, t.TempDir(), "1", imagetest.Image(t, v1.Config{}, noise("n", 8<<20)))
	for _, size := range []string{"4m", "12m"} {
		t.Run(size, func(t *testing.T) {
			dir := t.TempDir()
			if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
				t.Skipf("cannot mount here: %v: %s", err, out)
			}
			t.Cleanup(func() {
				if out, err := exec.CommandContext(context.Background(), "umount", dir).CombinedOutput(); err != nil {
					t.Errorf("umount: %v: %s", err, out)
				}
			})
			_, err := open(t, dir, image.Options{}).Ensure(t.Context(), ref, "", "")
			wantPullError(t, err, image.ReasonPull, true, "no space left")
			wantNothingLeft(t, dir)
		})
	}
}
