package desired

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// some are the files of one root that file events told of.
type some struct {
	found map[string]entry
	gone  []string
	dirs  map[string]bool
}

// scanSome looks at paths that file events told of, where everything else is at rest. It
// says whether they have settled; ok is false when that does not do: something happened to
// directories or links, or to the checkout as a whole.
func (s *Source) scanSome(paths map[string]bool) (settled, ok bool) {
	byRoot := make(map[*root]*some, len(s.roots))
	for _, r := range s.roots {
		byRoot[r] = &some{found: make(map[string]entry), dirs: make(map[string]bool)}
	}
	for path := range paths {
		if s.dirs[path] {
			return false, false
		}
		for _, r := range s.roots {
			if within(path, r.path) && !byRoot[r].add(r, path) {
				return false, false
			}
		}
	}
	settled = true
	for _, r := range s.roots {
		s.reader.at.Store(r)
		if !r.scanSome(byRoot[r], s.opt.Settle) {
			return false, false
		}
		settled = settled && r.settled
		s.atRest = s.atRest && (r.atRest() || !r.settled)
	}
	return settled, true
}

// add adds a path of a root, if it may be a manifest; false when it is no file.
func (m *some) add(r *root, path string) bool {
	info, err := os.Lstat(path)
	gone := errors.Is(err, fs.ErrNotExist)
	if path == r.path || err != nil && !gone || err == nil && !info.Mode().IsRegular() {
		return false
	}
	rel, err := filepath.Rel(r.path, path)
	if err != nil {
		return false
	}
	for part := range strings.SplitSeq(rel, string(filepath.Separator)) {
		if hidden(part) {
			return true
		}
	}
	if !manifestName(path) {
		return true
	}
	dir := filepath.Dir(path)
	if _, known := r.dirs[dir]; !known {
		return false
	}
	m.dirs[dir] = true
	if gone {
		m.gone = append(m.gone, path)
	} else {
		m.found[path] = entry{info: info}
	}
	return true
}

// scanSome looks at some files by the rules of scan; false when it has to be all of them.
func (r *root) scanSome(m *some, settle time.Duration) bool {
	repo, err := findCheckout(r.path)
	if err != nil || repo != nil && (repo.busy() || repo.commit() != r.commit) || repo == nil && r.commit != "" {
		return false
	}
	w := newWalk(r, settle, nil, m.found)
	w.real = r.path
	for dir := range m.dirs {
		info, err := os.Stat(dir)
		if err != nil {
			return false
		}
		w.sight(dir, stampOf(info))
	}
	if len(r.files)+len(w.found) > maxFiles {
		return false
	}
	r.settled, r.quiet = w.dirsQuiet, w.dirsQuiet
	readings := r.read(w, settle)
	if r.moved(w, repo) != nil {
		return false
	}
	maps.Copy(r.dirs, w.seen)
	r.take(readings)
	for _, path := range m.gone {
		r.forget(path)
	}
	return true
}
