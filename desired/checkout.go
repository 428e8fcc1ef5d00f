package desired

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// checkout is the git checkout that a path lies in.
type checkout struct {
	// dir is its git directory (of this work tree); common is where the refs are.
	dir, common string
}

// findCheckout returns the checkout that path lies in, nil when there is none. A
// .git that cannot be read is an error, as it may hide that git is at work.
func findCheckout(path string) (*checkout, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	for dir := real; ; dir = filepath.Dir(dir) {
		dotGit := filepath.Join(dir, ".git")
		info, err := os.Stat(dotGit)
		switch {
		case err == nil && info.IsDir():
			return newCheckout(dotGit), nil
		case err == nil:
			return linkedCheckout(dotGit)
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		default:
			return nil, fmt.Errorf("look for a git checkout: %w", err)
		}
		if dir == filepath.Dir(dir) {
			return nil, nil
		}
	}
}

// linkedCheckout follows the .git file of a linked work tree or submodule.
func linkedCheckout(dotGit string) (*checkout, error) {
	line, err := firstLine(dotGit)
	if err != nil {
		return nil, fmt.Errorf("look for a git checkout: %w", err)
	}
	dir, ok := strings.CutPrefix(line, "gitdir: ")
	if !ok {
		return nil, fmt.Errorf("look for a git checkout: %s names no gitdir", dotGit)
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(filepath.Dir(dotGit), dir)
	}
	return newCheckout(dir), nil
}

func newCheckout(dir string) *checkout {
	c := &checkout{dir: dir, common: dir}
	if common, err := firstLine(filepath.Join(dir, "commondir")); err == nil {
		if !filepath.IsAbs(common) {
			common = filepath.Join(dir, common)
		}
		c.common = common
	}
	return c
}

// lock is the file that exists while git changes the work tree.
func (c *checkout) lock() string { return filepath.Join(c.dir, "index.lock") }

// busy tells whether git is changing the work tree; not being able to tell counts as busy.
func (c *checkout) busy() bool {
	_, err := os.Lstat(c.lock())
	return !errors.Is(err, fs.ErrNotExist)
}

// commit returns the id of the commit that is checked out, "" when it cannot be told
// (no commit yet, or a ref store we do not read).
func (c *checkout) commit() string {
	head, err := firstLine(filepath.Join(c.dir, "HEAD"))
	if err != nil {
		return ""
	}
	ref, symbolic := strings.CutPrefix(head, "ref: ")
	if !symbolic {
		return objectID(head)
	}
	if !filepath.IsLocal(ref) {
		return ""
	}
	if id, err := firstLine(filepath.Join(c.common, ref)); err == nil {
		return objectID(id)
	}
	return c.packed(ref)
}

// packed looks a ref up in packed-refs: lines of "ID REF".
func (c *checkout) packed(ref string) string {
	f, err := os.Open(filepath.Join(c.common, "packed-refs"))
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if id, name, ok := strings.Cut(lines.Text(), " "); ok && name == ref {
			return objectID(id)
		}
	}
	return ""
}

// objectID returns s when it is a SHA-1 or SHA-256 object name, else "".
func objectID(s string) string {
	if (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == "" {
		return s
	}
	return ""
}

func firstLine(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Scan()
	return strings.TrimSpace(lines.Text()), lines.Err()
}
