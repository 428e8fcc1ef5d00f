package runtime

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// TestGeometry makes file systems and looks at how much they take.
func TestGeometry(t *testing.T) {
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, tool := range []string{"mkfs.ext4", "dumpe2fs"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	for _, limit := range []int64{1, 1 << 20, 5 << 20, 63 << 20, 64 << 20, 500 << 20, 1 << 30, 50 << 30} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			g := imageFor(limit)
			image := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(image, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(image, g.bytes); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("mkfs.ext4", slices.Concat(g.mkfs(), []string{image})...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			out, err := exec.Command("dumpe2fs", "-h", image).Output()
			if err != nil {
				t.Fatal(err)
			}
			m := regexp.MustCompile(`Free blocks: +(\d+)`).FindSubmatch(out)
			if m == nil {
				t.Fatalf("no free blocks in %s", out)
			}
			free, err := strconv.ParseInt(string(m[1]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			// What the kernel keeps for itself.
			usable := free*g.block - min(g.bytes/50, 4096*g.block)
			want := max(limit, minSizedDir)
			if usable < want || usable > want+want/20 {
				t.Errorf("a limit of %d bytes takes %d", want, usable)
			}
		})
	}
}
