package runtime

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOwnTree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("gives files away")
	}
	const gid = 4321
	root, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
	for path, mode := range map[string]os.FileMode{filepath.Join(root, "f"): 0o600, filepath.Join(root, "x"): 0o755, outside: 0o600} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	check := func(want map[string]uint32) {
		t.Helper()
		for path, mode := range want {
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil {
				t.Fatal(err)
			}
			group := uint32(gid)
			if path == outside {
				group = uint32(os.Getegid())
			}
			if st.Mode&0o7777 != mode || st.Gid != group {
				t.Errorf("%s: mode %o, group %d", path, st.Mode&0o7777, st.Gid)
			}
		}
	}
	if err := ownTree(t.Context(), root, gid); err != nil {
		t.Fatal(err)
	}
	check(map[string]uint32{
		root: 0o2775, filepath.Join(root, "f"): 0o660, filepath.Join(root, "x"): 0o775, filepath.Join(root, "d"): 0o2770, outside: 0o600,
	})
	// A second time nothing is walked.
	if err := os.Chmod(filepath.Join(root, "f"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ownTree(t.Context(), root, gid); err != nil {
		t.Fatal(err)
	}
	check(map[string]uint32{filepath.Join(root, "f"): 0o600})
}
