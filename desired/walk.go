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
)

// walk is one pass over a root.
type walk struct {
	root   *root
	settle time.Duration
	dirs   map[string]bool // to watch
	found  map[string]entry
	seen   map[string]sighting
	// real is where the root is; links are all symbolic links in it, with their targets.
	real  string
	links map[string]string
	// visits counts directories, those that several links lead to more than once.
	visits int
	// dirsQuiet is true when no directory changed within the settle time.
	dirsQuiet bool
}

// entry is a manifest that was found, or why there is none behind its name.
type entry struct {
	info fs.FileInfo
	err  error
}

func newWalk(r *root, settle time.Duration, dirs map[string]bool, found map[string]entry) *walk {
	return &walk{
		root: r, settle: settle, dirs: dirs, dirsQuiet: true,
		found: found, seen: make(map[string]sighting), links: make(map[string]string),
	}
}

// run lists all manifests.
func (w *walk) run() error {
	real, err := filepath.EvalSymlinks(w.root.path)
	if err != nil {
		return fmt.Errorf("read manifests: %w", err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return fmt.Errorf("read manifests: %w", err)
	}
	w.real = real
	w.root.isDir = info.IsDir()
	if !info.IsDir() {
		w.found[w.root.path] = entry{info: info}
		w.dirs[filepath.Dir(real)] = true
		return nil
	}
	return w.dir(w.root.path, real, nil)
}

// unmoved makes a swap of symbolic links since the walk (..data, git-sync) an error, since
// what was listed and read would be of two revisions.
func (w *walk) unmoved() error {
	if real, err := filepath.EvalSymlinks(w.root.path); err != nil || real != w.real {
		return fmt.Errorf("read manifests %s: %w", w.root.path, errMoved)
	}
	for link, target := range w.links {
		if now, err := os.Readlink(link); err != nil || now != target {
			return fmt.Errorf("read manifests %s: %w", link, errMoved)
		}
		// It may have been moved and moved back.
		dir := filepath.Dir(link)
		if info, err := os.Stat(dir); err != nil || stampOf(info) != w.seen[dir].stamp {
			return fmt.Errorf("read manifests %s: %w", link, errMoved)
		}
	}
	return nil
}

// dir lists one directory: name is how users know it, real where it is; above are the
// real directories it lies in, to end loops of links.
func (w *walk) dir(name, real string, above []string) error {
	if slices.Contains(above, real) || len(above) >= maxDepth {
		return nil
	}
	if w.visits++; w.visits > maxDirs {
		return fmt.Errorf("read manifests %s: more than %d directories; is it the right one?", w.root.path, maxDirs)
	}
	w.dirs[real] = true
	info, err := os.Stat(real)
	if err != nil {
		return fmt.Errorf("read manifests: %w", err)
	}
	w.sight(real, stampOf(info))
	entries, err := os.ReadDir(real)
	if err != nil {
		return fmt.Errorf("read manifests: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(real, e.Name())
		if e.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // it went since it was listed
			}
			if err != nil {
				return fmt.Errorf("read manifests: %w", err)
			}
			// ..data is a link that the visible ones go through, so hidden ones count too.
			w.links[path] = target
		}
		if hidden(e.Name()) {
			continue
		}
		if err := w.entry(filepath.Join(name, e.Name()), path, append(above, real)); err != nil {
			return err
		}
	}
	// What came or went meanwhile may be missing from the list.
	if after, err := os.Stat(real); err != nil || stampOf(after) != stampOf(info) {
		w.dirsQuiet = false
	}
	return nil
}

// sight notes how long a directory has been as it is.
func (w *walk) sight(dir string, now stamp) {
	s := w.root.dirs[dir]
	if s.stamp != now {
		s = sighting{stamp: now, since: time.Now()}
	}
	w.seen[dir] = s
	w.dirsQuiet = w.dirsQuiet && now.quiet(s.since, w.settle)
}

func (w *walk) entry(name, path string, above []string) error {
	info, err := os.Stat(path)
	switch _, link := w.links[path]; {
	case err == nil:
	case link:
		return w.brokenLink(name, err)
	case errors.Is(err, fs.ErrNotExist):
		return nil // it went between listing and looking; the directory shows that it changed
	default:
		return fmt.Errorf("read manifests: %w", err)
	}
	if info.IsDir() {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return fmt.Errorf("read manifests: %w", err)
		}
		return w.dir(name, real, above)
	}
	return w.manifest(name, entry{info: info})
}

// brokenLink judges a link that leads nowhere, maybe only for as long as its target is
// being replaced: the link is still there, so what it means is unknown, not absent.
func (w *walk) brokenLink(name string, err error) error {
	if filepath.Ext(name) == "" {
		return fmt.Errorf("read manifests: the link %s may be to a directory: %w", name, err)
	}
	return w.manifest(name, entry{err: fmt.Errorf("read manifest: %w", err)})
}

// manifest keeps what was found when its name is a manifest's.
func (w *walk) manifest(name string, e entry) error {
	if !manifestName(name) {
		return nil
	}
	if len(w.found) == maxFiles {
		return fmt.Errorf("read manifests %s: more than %d manifests; is it the right directory?", w.root.path, maxFiles)
	}
	w.found[name] = e
	return nil
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
