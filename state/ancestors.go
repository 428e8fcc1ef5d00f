package state

import (
	"fmt"
	"os"
	"path/filepath"
)

// checkAncestors refuses a state directory below a directory in which everybody may rename
// what is others': whoever can put another directory in its place decides what runs. path
// is absolute and has no symbolic links. A sticky directory, as /tmp is, is fine, and so is
// one that nobody else gets to.
func checkAncestors(path string) error {
	var open error
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		if err != nil {
			return fmt.Errorf("open state directory: %w", err)
		}
		mode := info.Mode()
		switch {
		case mode.Perm()&0o011 == 0:
			open = nil // nobody else gets to what is below
		case mode.Perm()&0o002 != 0 && mode&os.ModeSticky == 0:
			open = fmt.Errorf("open state directory %s: everybody may replace what is in %s (mode %04o): chmod o-w it", path, dir, mode.Perm())
		}
		if dir == filepath.Dir(dir) {
			return open
		}
	}
}
