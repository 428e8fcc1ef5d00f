package state

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenRefusesWhatEverybodyMayReplace(t *testing.T) {
	// Not t.TempDir, which nobody else gets to.
	above, err := os.MkdirTemp("", "state")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(above); err != nil {
			t.Error(err)
		}
	})
	open := filepath.Join(above, "open")
	root := filepath.Join(open, "between", "state")
	if err := os.MkdirAll(root, 0o700); err != nil {
		t.Fatal(err)
	}
	// MkdirAll made all of it private, and a private one hides what is below.
	for _, dir := range []string{above, filepath.Dir(root)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		mode os.FileMode
		ok   bool
	}{{0o777, false}, {0o757, false}, {0o777 | os.ModeSticky, true}, {0o755, true}} {
		if err := os.Chmod(open, tc.mode); err != nil {
			t.Fatal(err)
		}
		_, err := Open(root)
		if (err == nil) != tc.ok || err != nil && !strings.Contains(err.Error(), "everybody may replace") {
			t.Errorf("below a directory of mode %v: %v", tc.mode, err)
		}
	}
	for dir, mode := range map[string]os.FileMode{open: 0o777, above: 0o700} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(root); err != nil {
		t.Errorf("where nobody else gets to: %v", err)
	}
}

// TestOpenRefusesAnothersDirectory opens a private directory of another user, who could change it.
func TestOpenRefusesAnothersDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make one")
	}
	const stranger = 65533
	root := filepath.Join(t.TempDir(), "theirs")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(root, stranger, stranger); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root); err == nil || !strings.Contains(err.Error(), "it belongs to uid 65533") {
		t.Errorf("opened: %v", err)
	}
	// Nor is one that another user links to from our own.
	ours := filepath.Join(t.TempDir(), "ours")
	if err := os.Mkdir(ours, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, filepath.Join(ours, "machines")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ours); err == nil || !strings.Contains(err.Error(), "it belongs to uid 65533") {
		t.Errorf("opened with machines that are another's: %v", err)
	}
}
