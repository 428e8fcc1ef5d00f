package desired

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Bounds on a manifest directory; more is a mistake in the path.
const (
	maxDepth = 32
	maxFiles = 100_000
)

// errMoved: what was read may be part of one revision and part of another.
var errMoved = errors.New("the link was moved while it was read")

// root is one path that the user named, and what was read of it.
type root struct {
	path  string // absolute, links not resolved
	isDir bool
	files map[string]*file // by path

	// The outcome of the last scan.
	known   bool   // the list of files is complete
	reason  string // why it is not
	settled bool
	commit  string
	// quiet is false while the set of files may be between two states, so that a
	// missing file may not be missing.
	quiet bool
}

func newRoot(path string) *root {
	return &root{path: path, files: make(map[string]*file)}
}

// scan looks at everything below the root and adds the directories to watch to dirs.
// What cannot be read leaves the files of the scan before as they were.
func (r *root) scan(settle time.Duration, dirs map[string]bool) {
	// Whoever renames or links the root itself does it in its parent.
	dirs[filepath.Dir(r.path)] = true
	r.settled, r.quiet = true, true
	repo, err := findCheckout(r.path)
	if err == nil && repo != nil {
		dirs[repo.dir] = true
		if repo.busy() {
			r.hold(fmt.Errorf("git is at work: %s exists (remove it if no git runs)", repo.lock()))
			r.settled = false
			return
		}
		r.commit = repo.commit()
	}
	if err != nil {
		r.hold(err)
		return
	}
	w := &walk{root: r, settle: settle, dirs: dirs, found: make(map[string]fs.FileInfo)}
	if err := w.run(); err != nil {
		r.hold(err)
		r.settled = !errors.Is(err, errMoved)
		return
	}
	if repo != nil && (repo.busy() || repo.commit() != r.commit) {
		r.hold(errors.New("git changed the checkout while it was read"))
		r.settled = false
		return
	}
	if repo != nil && !w.allQuiet() {
		// A checkout is one unit: part of it new and part of it old is no commit.
		r.hold(errors.New("the checkout is being changed"))
		r.settled = false
		return
	}
	r.known, r.reason = true, ""
	r.take(w, settle)
}

func (r *root) hold(err error) {
	r.known, r.reason = false, err.Error()
}

// take reads the files that were found and forgets those that are surely gone.
func (r *root) take(w *walk, settle time.Duration) {
	r.quiet = w.dirsQuiet
	r.settled = w.dirsQuiet
	for path, info := range w.found {
		f := r.files[path]
		if f == nil {
			f = &file{path: path}
			r.files[path] = f
		}
		f.look(info, settle, schema.ParseOptions{Source: r.path, Commit: r.commit})
		r.settled = r.settled && f.settled
	}
	if !r.quiet {
		return
	}
	for path := range r.files {
		if _, ok := w.found[path]; !ok {
			delete(r.files, path)
		}
	}
}

// sorted returns the files in the order of their paths.
func (r *root) sorted() []*file {
	list := make([]*file, 0, len(r.files))
	for _, f := range r.files {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b *file) int { return strings.Compare(a.path, b.path) })
	return list
}

// walk is one pass over a root.
type walk struct {
	root   *root
	settle time.Duration
	dirs   map[string]bool
	found  map[string]fs.FileInfo
	// dirsQuiet is true when no directory changed within the settle time.
	dirsQuiet bool
}

// run lists all manifests. A swap of symbolic links half-way (..data, git-sync) makes
// it an error, since the list would be of two revisions.
func (w *walk) run() error {
	before, err := filepath.EvalSymlinks(w.root.path)
	if err != nil {
		return fmt.Errorf("read manifests: %w", err)
	}
	info, err := os.Stat(before)
	if err != nil {
		return fmt.Errorf("read manifests: %w", err)
	}
	w.dirsQuiet = true
	w.root.isDir = info.IsDir()
	if !info.IsDir() {
		w.found[w.root.path] = info
		w.dirs[filepath.Dir(before)] = true
		return nil
	}
	links := make(map[string]string)
	if err := w.dir(w.root.path, before, nil, links); err != nil {
		return err
	}
	if after, err := filepath.EvalSymlinks(w.root.path); err != nil || after != before {
		return fmt.Errorf("read manifests %s: %w", w.root.path, errMoved)
	}
	for link, target := range links {
		if now, err := os.Readlink(link); err != nil || now != target {
			return fmt.Errorf("read manifests %s: %w", link, errMoved)
		}
	}
	return nil
}

// dir lists one directory: name is how users know it, real where it is; above are the
// real directories it lies in, to end loops of links.
func (w *walk) dir(name, real string, above []string, links map[string]string) error {
	if slices.Contains(above, real) || len(above) >= maxDepth {
		return nil
	}
	w.dirs[real] = true
	info, err := os.Stat(real)
	if err != nil {
		return fmt.Errorf("read manifests: %w", err)
	}
	if !stampOf(info).quiet(time.Time{}, w.settle) {
		w.dirsQuiet = false
	}
	entries, err := os.ReadDir(real)
	if err != nil {
		return fmt.Errorf("read manifests: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(real, e.Name())
		if e.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			if err != nil {
				return fmt.Errorf("read manifests: %w", err)
			}
			// ..data is a link that the visible ones go through, so hidden ones count too.
			links[path] = target
		}
		if hidden(e.Name()) {
			continue
		}
		if err := w.entry(filepath.Join(name, e.Name()), path, append(above, real), links); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(name, path string, above []string, links map[string]string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		// It went between listing and looking, or is a dangling link: it is not there,
		// and the directory's own change time keeps that from being acted on early.
		return nil
	}
	if err != nil {
		return fmt.Errorf("read manifests: %w", err)
	}
	if info.IsDir() {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return fmt.Errorf("read manifests: %w", err)
		}
		return w.dir(name, real, above, links)
	}
	if !manifestName(name) {
		return nil
	}
	if len(w.found) == maxFiles {
		return fmt.Errorf("read manifests %s: more than %d manifests; is it the right directory?", w.root.path, maxFiles)
	}
	w.found[name] = info
	return nil
}

// allQuiet tells whether neither a directory nor a manifest changed within the settle time.
func (w *walk) allQuiet() bool {
	for _, info := range w.found {
		if !stampOf(info).quiet(time.Time{}, w.settle) {
			return false
		}
	}
	return w.dirsQuiet
}

// hidden tells the names that editors, git and kubelet-style volumes use for themselves.
func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// manifestName tells manifests by their names; backups (x.yaml~, x.yaml.bak) and swap
// files end otherwise.
func manifestName(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}
